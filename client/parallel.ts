/** Runs `work` for each item, at most `atOnce` at a time. Rejects with the first failure, after all have ended. */
export async function eachBounded<T> (items: readonly T[], atOnce: number, work: (item: T) => Promise<unknown>): Promise<void> {
  let next = 0
  let failure: { error: unknown } | null = null
  const runner = async (): Promise<void> => {
    while (next < items.length) {
      const item = items[next++]!
      try {
        await work(item)
      } catch (error) {
        failure ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, runner))
  if (failure !== null) throw (failure as { error: unknown }).error
}
