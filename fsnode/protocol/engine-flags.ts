/**
 * Flags of the engine for processes that carry bulk data (nodes, mount workers). Their heaps are small and
 * full of long-lived records, while buffers come and go outside: with the defaults every few megabytes of
 * traffic start a full marking. A young generation of fixed size and more room to grow make full
 * collections rare; see docs/decisions.
 */
export const bulkProcessFlags = [
  '--disable-warning=ExperimentalWarning',
  '--min-semi-space-size=6', '--max-semi-space-size=6', '--heap-growing-percent=100'
]

/**
 * Buffers are freed by other threads than allocate them: with few arenas less of them stays with the process. Those of 128 KiB and more are given
 * back to the machine when they are freed; without a fixed bound the allocator soon keeps them all.
 */
export const bulkProcessEnvironment = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '131072' }
