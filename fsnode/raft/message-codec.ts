import { entryKind, type Entry, type EntryKind, type RaftMessage } from './core/types.ts'

/**
 * Raft messages on the wire: MessagePack arrays, the first element names the type.
 *
 *   0 vote        term, flags (1 pre, 2 transfer), lastIndex, lastTerm
 *   1 voted       term, flags (1 pre, 2 granted)
 *   2 append      term, prevIndex, prevTerm, commitIndex, stamp, round, then term, kind, data of each entry
 *   3 appended    term, flags (1 success, 2 wantSnapshot), index, hintIndex, hintTerm, stamp, round
 *   4 snapshot    term, stream, chunk, flags (1 last), index, indexTerm, members, data
 *   5 received    term, flags (1 known), stream, next
 *   6 timeoutNow  term, round
 */
export type WireMessage = unknown[]

const appendHeadLength = 7

export function toWire (message: RaftMessage): WireMessage {
  switch (message.type) {
    case 'append': {
      const wire: WireMessage = [2, message.term, message.prevIndex, message.prevTerm, message.commitIndex, message.stamp, message.round]
      for (const entry of message.entries) wire.push(entry.term, entry.kind, entry.data)
      return wire
    }
    case 'appended':
      return [3, message.term, flags(message.success, message.wantSnapshot), message.index, message.hintIndex, message.hintTerm, message.stamp, message.round]
    case 'vote':
      return [0, message.term, flags(message.pre, message.transfer), message.lastIndex, message.lastTerm]
    case 'voted':
      return [1, message.term, flags(message.pre, message.granted)]
    case 'snapshot':
      return [4, message.term, message.stream, message.chunk, flags(message.last, false), message.index, message.indexTerm, message.members, message.data]
    case 'received':
      return [5, message.term, flags(message.known, false), message.stream, message.next]
    case 'timeoutNow':
      return [6, message.term, message.round]
  }
}

/** undefined for what is not a message: it is dropped, like a message that was lost. */
export function fromWire (wire: unknown): RaftMessage | undefined {
  if (!Array.isArray(wire) || !isCount(wire[1])) return undefined
  const term = wire[1]
  switch (wire[0]) {
    case 0:
      if (!counts(wire, 2, 5)) return undefined
      return { type: 'vote', term, pre: (wire[2] & 1) !== 0, transfer: (wire[2] & 2) !== 0, lastIndex: wire[3], lastTerm: wire[4] }
    case 1:
      if (!counts(wire, 2, 3)) return undefined
      return { type: 'voted', term, pre: (wire[2] & 1) !== 0, granted: (wire[2] & 2) !== 0 }
    case 2:
      return appendFromWire(wire, term)
    case 3:
      if (!counts(wire, 2, 6) || !isFinite(wire[6]) || !isFinite(wire[7])) return undefined
      return {
        type: 'appended', term, success: (wire[2] & 1) !== 0, wantSnapshot: (wire[2] & 2) !== 0,
        index: wire[3], hintIndex: wire[4], hintTerm: wire[5], stamp: wire[6], round: wire[7]
      }
    case 4:
      if (!counts(wire, 2, 7) || !isNames(wire[7]) || !(wire[8] instanceof Uint8Array)) return undefined
      return { type: 'snapshot', term, stream: wire[2], chunk: wire[3], last: (wire[4] & 1) !== 0, index: wire[5], indexTerm: wire[6], members: wire[7], data: wire[8] }
    case 5:
      return counts(wire, 2, 5) ? { type: 'received', term, known: (wire[2] & 1) !== 0, stream: wire[3], next: wire[4] } : undefined
    case 6:
      return counts(wire, 2, 3) ? { type: 'timeoutNow', term, round: wire[2] } : undefined
    default:
      return undefined
  }
}

function appendFromWire (wire: any[], term: number): RaftMessage | undefined {
  if (!counts(wire, 2, 5) || !isFinite(wire[5]) || !isCount(wire[6]) || (wire.length - appendHeadLength) % 3 !== 0) return undefined
  const entries: Entry[] = []
  const prevIndex: number = wire[2]
  let lastTerm: number = wire[3]
  for (let at = appendHeadLength; at < wire.length; at += 3) {
    const [entryTerm, kind, data] = [wire[at], wire[at + 1], wire[at + 2]]
    if (!isCount(entryTerm) || entryTerm < lastTerm || entryTerm > term || !isKind(kind) || !(data instanceof Uint8Array)) return undefined
    lastTerm = entryTerm
    entries.push({ index: prevIndex + entries.length + 1, term: entryTerm, kind, data })
  }
  return { type: 'append', term, prevIndex, prevTerm: wire[3], commitIndex: wire[4], stamp: wire[5], round: wire[6], entries }
}

function flags (one: boolean, two: boolean): number { return (one ? 1 : 0) + (two ? 2 : 0) }

function isCount (value: unknown): value is number { return Number.isSafeInteger(value) && (value as number) >= 0 }

function isFinite (value: unknown): value is number { return Number.isFinite(value) }

function isKind (value: unknown): value is EntryKind { return value === entryKind.noop || value === entryKind.command || value === entryKind.members }

function isNames (value: unknown): value is string[] { return Array.isArray(value) && value.every((name) => typeof name === 'string') }

/** True if the elements from `from` up to `to`, exclusive, are counts. */
function counts (wire: any[], from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (!isCount(wire[at])) return false
  return true
}
