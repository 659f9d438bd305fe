import { messageOf } from '../../../fsnode/protocol/errors.ts'
import type { Logger } from '../../../fsnode/protocol/ports.ts'
import { startFramework, type Framework } from '../../../scheduler/framework/index.ts'
import { routerLink } from '../../../scheduler/cluster/router-link.ts'
import { httpMasterClient } from '../../../scheduler/mesos/client.ts'
import type { SimClock } from '../clock.ts'
import type { Ending } from '../disk.ts'
import { MemoryKv } from '../memory-kv.ts'
import type { SimNetwork } from '../network.ts'
import { ProcessPorts, type Drift } from '../process.ts'
import type { SimRandom } from '../random.ts'
import { simPost } from './http.ts'
import { masterHost, masterPort } from './master.ts'

export const schedulerHost = 'scheduler'
export const nodeCommand = { value: 'exec node' }

export interface SimSchedulerComponents { clock: SimClock, random: SimRandom, network: SimNetwork, log: Logger }

export interface SimSchedulerInit { drift: Drift, nodes: number, diskMb: number, onFailure: (what: string) => void }

/** The process of `atoll scheduler`: the framework on its store, against the simulated master. It can end and be started again. */
export class SimScheduler {
  /** null while it starts or is down. */
  framework: Framework | null = null
  private readonly components: SimSchedulerComponents
  private readonly init: SimSchedulerInit
  private kv: MemoryKv
  private ports: ProcessPorts | null = null

  constructor (components: SimSchedulerComponents, init: SimSchedulerInit) {
    this.components = components
    this.init = init
    this.kv = new MemoryKv({ clock: components.clock, random: components.random.fork() })
  }

  start (): void {
    if (this.ports !== null) return
    const ports = this.ports = new ProcessPorts(this.components.clock, this.components.network.host(schedulerHost), this.init.drift)
    this.run(ports).then((framework) => {
      if (ports !== this.ports) return
      this.framework = framework
      // A broken invariant: the framework acts no more.
      framework.onChange(() => { if (framework.status().problem?.final === true) this.init.onFailure(`the framework has ended: ${framework.status().problem!.message}`) })
    }, (error) => { if (ports === this.ports) this.init.onFailure(`the framework cannot start: ${messageOf(error)}`) })
  }

  end (ending: Ending): void {
    const { ports, kv, components } = this
    if (ports !== null) ports.alive = false
    this.ports = null
    this.framework = null
    components.network.crash(schedulerHost)
    if (ending === 'power') kv.crash(components.random)
    else kv.kill()
    this.kv = kv.reopen()
  }

  private run ({ clock, network }: ProcessPorts): Promise<Framework> {
    const { kv, init: { nodes, diskMb }, components: { log } } = this
    const random = this.components.random.fork()
    return startFramework({
      kv, clock, random, log,
      masterClientFactory: httpMasterClient({ clock, random, log, post: simPost(network) }),
      clusterLinkFactory: routerLink({ network, clock, random, log })
    }, {
      masters: [`${masterHost}:${masterPort}`],
      role: 'atoll',
      principal: 'atoll',
      name: 'atoll',
      user: 'atoll',
      nodes,
      resources: { cpus: 1, memMb: 512, diskMb },
      nodeCommand
    })
  }
}
