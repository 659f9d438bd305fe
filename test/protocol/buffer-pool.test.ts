import { expect } from 'chai'
import { BufferPool, pooledBuffersMax, pooledBufferBytes, pooledBytesMin } from '../../fsnode/protocol/buffer-pool.ts'

describe('the pool of large buffers', () => {
  it('hands out again what was given back, whatever slice of it comes', () => {
    const pool = new BufferPool()
    const first = pool.take(pooledBytesMin)
    pool.give(first.subarray(100, 200))
    expect(pool.take(pooledBytesMin).buffer).to.equal(first.buffer)
  })

  it('hands out the smallest that is large enough, and keeps the larger ones', () => {
    const pool = new BufferPool()
    const sizes = [pooledBufferBytes, pooledBytesMin, 4 * pooledBytesMin]
    const taken = sizes.map((size) => pool.take(size))
    for (const buffer of taken) pool.give(buffer)
    expect(pool.take(2 * pooledBytesMin).buffer).to.equal(taken[2]!.buffer)
    expect(pool.take(2 * pooledBytesMin).buffer).to.equal(taken[0]!.buffer)
    const made = pool.take(2 * pooledBytesMin).buffer
    expect(taken.some(({ buffer }) => buffer === made)).to.equal(false)
    const large = Array.from({ length: pooledBuffersMax }, () => pool.take(pooledBufferBytes))
    for (const buffer of large) pool.give(buffer)
    const again = new Set(large.map(() => pool.take(pooledBytesMin).buffer))
    expect(large.every(({ buffer }) => again.has(buffer))).to.equal(true)
  })

  it('never lends one buffer twice, however often it is given back', () => {
    const pool = new BufferPool()
    const first = pool.take(pooledBytesMin)
    pool.give(first)
    pool.give(first)
    expect(pool.take(pooledBytesMin).buffer).to.not.equal(pool.take(pooledBytesMin).buffer)
  })

  it('takes a buffer back when the last of those who share it gives it', () => {
    const pool = new BufferPool()
    const first = pool.take(pooledBytesMin)
    pool.share(first)
    pool.share(first.subarray(3, 4))
    pool.give(first)
    pool.give(first)
    expect(pool.take(pooledBytesMin).buffer).to.not.equal(first.buffer)
    pool.give(first)
    expect(pool.take(pooledBytesMin).buffer).to.equal(first.buffer)
  })

  it('ignores buffers that are not its own, and keeps a bounded number', () => {
    const pool = new BufferPool()
    pool.give(Buffer.alloc(pooledBufferBytes))
    const taken = Array.from({ length: pooledBuffersMax + 1 }, () => pool.take(pooledBytesMin))
    for (const buffer of taken) pool.give(buffer)
    const again = Array.from({ length: pooledBuffersMax + 1 }, () => pool.take(pooledBytesMin).buffer)
    expect(again.filter((buffer) => taken.some((other) => other.buffer === buffer)).length).to.equal(pooledBuffersMax)
  })

  it('does not bother with small buffers and cannot lend larger ones than it has', () => {
    const pool = new BufferPool()
    expect(pool.take(10).length).to.equal(10)
    expect(pool.take(pooledBufferBytes + 1).length).to.equal(pooledBufferBytes + 1)
  })
})
