export { connect } from './connect.ts'
export type { ClientComponents, Cluster, ConnectInit, OpenVolumeOptions } from './connect.ts'
export type {
  Invalidation, OpenFile, OperationContext, SetAttributes, StatFs, VolumeClient, WriteJournal
} from './types.ts'
export { AtollError } from '../fsnode/protocol/errors.ts'
