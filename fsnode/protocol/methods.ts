import type { DataMethods } from './data.ts'
import type { ManagerMethods } from './manager.ts'
import type { MetadataMethods } from './metadata.ts'

/** Every method that a node (or, for recalls, a client) answers, with its request and response. */
export interface Methods extends MetadataMethods, DataMethods, ManagerMethods {}

export type Method = keyof Methods
