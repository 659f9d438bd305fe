import type { NodeId } from '../../partitioning/types.ts'
import type { RaftMessage } from './core/types.ts'

export type RaftMessageHandler = (from: NodeId, group: string, message: RaftMessage) => void

/** Carries messages between the hosts. May lose, delay, reorder and repeat them, but never alter them. */
export interface RaftTransport {
  /** Never fails and never blocks; the message must not be changed afterwards. */
  send (to: NodeId, group: string, message: RaftMessage): void
  /** Sets the one receiver. */
  onMessage (handler: RaftMessageHandler): void
  close (): Promise<void>
}
