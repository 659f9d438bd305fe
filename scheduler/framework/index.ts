export { startFramework } from './framework.ts'
export type { Framework, FrameworkComponents, FrameworkInit } from './framework.ts'
export { httpMasterClient } from '../mesos/client.ts'
export type {
  Evaluation, FrameworkStatus, NodeCommand, NodeResources, NodeSpec, NodeState, NodeStatus, Outcome
} from './types.ts'
