import { expect } from 'chai'
import * as fuse from '../../fuse/protocol/constants.ts'
import { SimClock } from '../sim/clock.ts'
import { errnoName, FakeKernel, text, u32, u64, type KernelReply } from './fake-kernel.ts'
import { MemoryVolume } from './memory-volume.ts'

export const root = { uid: 0, gid: 0 }

export async function start (): Promise<{ kernel: FakeKernel, volume: MemoryVolume }> {
  const volume = new MemoryVolume({ clock: new SimClock() })
  const kernel = new FakeKernel(volume)
  expect((await kernel.init()).errno).to.equal(0)
  return { kernel, volume }
}

export const nameOf = ({ errno }: KernelReply): string => errnoName(errno)
export const lookup = (kernel: FakeKernel, dir: number, name: string): Promise<KernelReply> => kernel.ask({ opcode: fuse.FUSE_LOOKUP, nodeid: dir }, text(name))
export const sizeIn = (payload: Buffer, attrAt: number): number => Number(payload.readBigUInt64LE(attrAt + 8))
export const modeIn = (payload: Buffer, attrAt: number): number => payload.readUInt32LE(attrAt + 60)
export const getattr = (kernel: FakeKernel, ino: number): Promise<KernelReply> => kernel.ask({ opcode: fuse.FUSE_GETATTR, nodeid: ino }, u32(0, 0), u64(0))

/** A promise to be resolved by hand. */
export function gate (): { wait: Promise<void>, open: () => void } {
  let open = (): void => {}
  const wait = new Promise<void>((resolve) => { open = resolve })
  return { wait, open }
}
