import { encode } from '../protocol/frame.ts'
import type { Operations } from './operations/index.ts'

export type CommandName = keyof Operations

export type ArgsOf<N extends CommandName> = Parameters<Operations[N]>[1]

/** In place of an operation number: a session's own changes, which are numbered themselves. */
export const streamOperation = -1

/** [name, time, session, operation number, arguments]; session '' when it is not a session's operation. */
export type CommandTuple = [name: CommandName, now: bigint, session: string, op: number, args: unknown]

export function encodeCommand<N extends CommandName> (name: N, now: bigint, session: string, op: number, args: ArgsOf<N>): Buffer {
  return encode([name, now, session, op, args])
}
