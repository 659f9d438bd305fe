export interface Output { write: (text: Buffer) => void, end: () => void }

/** Outputs of things that run side by side, one after the other: each goes through as it comes as soon as those before it have ended. */
export function heldBack (count: number, write: (text: Buffer) => void): Output[] {
  const waiting: Buffer[][] = Array.from({ length: count }, () => [])
  const ended = new Set<number>()
  let turn = 0
  return waiting.map((texts, index) => ({
    write: (text) => {
      if (index === turn) write(text)
      else texts.push(text)
    },
    end: () => {
      ended.add(index)
      while (ended.has(turn)) {
        turn++
        for (const text of waiting[turn]?.splice(0) ?? []) write(text)
      }
    }
  }))
}
