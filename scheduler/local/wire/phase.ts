import type { Refusal } from './http-contract.ts'

/**
 * What a master is to whoever asks it. Ours leads from its start to its end; the others are for tests of what a real one is besides:
 * - starting: it listens, but has no routes yet: everything is 404.
 * - recovering: it has not read its registry yet.
 * - no leader: it stands by, and knows of none that leads.
 * - leader: it stands by; `host:port` leads, or has led until a moment ago.
 */
export type Phase = 'starting' | 'recovering' | 'leading' | 'no leader' | { leader: string }

/** These are answered by every master. */
const ownPaths = new Set(['/health', '/version'])

/** What is answered instead of what was asked for; undefined: nothing. `path`: without `/master` in front. */
export function phaseRefusal (phase: Phase, path: string): Refusal | undefined {
  if (phase === 'leading') return undefined
  if (phase === 'starting') return { status: 404, text: '404 Not Found.' }
  if (ownPaths.has(path)) return undefined
  if (phase === 'recovering') return path === '/redirect' ? undefined : { status: 503, text: 'Master has not finished recovery' }
  if (phase === 'no leader') return { status: 503, text: 'No leader elected' }
  return { status: 307, text: '', headers: { location: path === '/redirect' ? `//${phase.leader}` : `//${phase.leader}/master${path}` } }
}
