import { codeOf, posixError } from '../../fsnode/protocol/errors.ts'

/**
 * For operations on an inode that the kernel names by its number. When it is gone the caller must see
 * ESTALE, upon which the kernel walks the path once more; ENOENT would be taken for the name's absence.
 */
export async function orStale<T> (outcome: Promise<T>): Promise<T> {
  try {
    return await outcome
  } catch (error) {
    throw codeOf(error) === 'ENOENT' ? posixError('ESTALE') : error
  }
}
