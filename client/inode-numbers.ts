import { codeOf } from '../fsnode/protocol/errors.ts'
import { inodeNumbersAtOnce, inodeNumbersLeftMin } from './bounds.ts'
import type { VolumeContext } from './context.ts'
import type { MetadataSession } from './session.ts'

interface Stock { next: number, left: number, spare: { first: number, count: number } | null, asking: boolean }

/** Inode numbers that partitions have given to this client for what it makes by itself. */
export class InodeNumbers {
  private readonly context: VolumeContext
  private readonly stocks = new Map<MetadataSession, Stock>()

  constructor (context: VolumeContext) {
    this.context = context
  }

  /** A number in the partition of the session; null when none is at hand: more are on their way then. */
  take (session: MetadataSession): number | null {
    let stock = this.stocks.get(session)
    if (stock === undefined) {
      stock = { next: 0, left: 0, spare: null, asking: false }
      this.stocks.set(session, stock)
    }
    if (stock.left === 0 && stock.spare !== null) {
      stock.next = stock.spare.first
      stock.left = stock.spare.count
      stock.spare = null
    }
    if (stock.left < inodeNumbersLeftMin && stock.spare === null && !stock.asking) void this.ask(session, stock)
    if (stock.left === 0) return null
    stock.left--
    return stock.next++
  }

  private async ask (session: MetadataSession, stock: Stock): Promise<void> {
    stock.asking = true
    try {
      const { body } = await session.call('meta.inodes', { op: this.context.operations.next(), count: inodeNumbersAtOnce }, { mutation: true })
      stock.spare = body
    } catch (error) {
      this.context.log.debug('no inode numbers were given', { partition: session.partition, code: codeOf(error) })
    } finally {
      stock.asking = false
    }
  }
}
