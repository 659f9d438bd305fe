import type { Clock, Network, Timer } from '../../fsnode/protocol/ports.ts'

/** How a machine's clocks differ from true time. */
export interface Drift {
  /** Its milliseconds in a true one. */
  rate: number
  /** What its monotonic clock shows at the start. */
  offsetMs: number
  /** By how much its wall clock is wrong at the start. */
  wallSkewMs: number
}

export const noDrift: Drift = { rate: 1, offsetMs: 0, wallSkewMs: 0 }

/**
 * The clock and the network of one process on a machine. When the process has ended nothing that is left of it
 * can act: its timers do not run, its dials never answer.
 */
export class ProcessPorts {
  readonly clock: Clock
  readonly network: Network
  alive = true

  constructor (clock: Clock, network: Network, drift: Drift = noDrift) {
    this.clock = this.mortalClock(clock, drift)
    this.network = this.mortalNetwork(network)
  }

  private mortalClock (clock: Clock, { rate, offsetMs, wallSkewMs }: Drift): Clock {
    const wallOriginNs = clock.wallNs() - BigInt(Math.round(clock.now() * 1e6))
    return {
      now: () => offsetMs + clock.now() * rate,
      wallNs: () => wallOriginNs + BigInt(Math.round((clock.now() * rate + wallSkewMs) * 1e6)),
      setTimer: (callback, delayMs): Timer => clock.setTimer(() => { if (this.alive) callback() }, Math.max(0, delayMs) / rate)
    }
  }

  private mortalNetwork (network: Network): Network {
    return {
      dial: async (address, options) => {
        if (!this.alive) await never()
        const connection = await network.dial(address, options)
        if (!this.alive) {
          connection.close()
          await never()
        }
        return connection
      },
      listen: async (address, onConnection) => {
        if (!this.alive) await never()
        const listener = await network.listen(address, (connection) => {
          if (this.alive) onConnection(connection)
          else connection.close()
        })
        // One that was about to stop when it died must not close the door of the process that came after it.
        return { address: listener.address, close: async () => { await (this.alive ? listener.close() : never()) } }
      }
    }
  }
}

function never (): Promise<never> { return new Promise(() => {}) }
