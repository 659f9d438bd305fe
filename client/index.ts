export { connect } from './connect.ts'
export type { ClientComponents, Cluster, ConnectInit, MountOptions, OpenVolumeOptions } from './connect.ts'
export { VolumeFileSystem } from './file-api/mounted-volume.ts'
export type { MountedVolumeInit } from './file-api/mounted-volume.ts'
export type { Dir } from './file-api/dir.ts'
export type { FileHandle, MountedVolume, ReadStreamOptions, SharedWithNode, WriteStreamOptions } from './file-api/types.ts'
export type {
  Invalidation, OpenFile, OperationContext, SetAttributes, StatFs, VolumeClient, WriteJournal
} from './types.ts'
export { AtollError } from '../fsnode/protocol/errors.ts'
