export { startFramework } from './framework.ts'
export type { Framework, FrameworkComponents, FrameworkInit } from './framework.ts'
export { httpMasterClient } from '../mesos/client.ts'
export type { ClusterLink, ClusterLinkFactory } from './cluster-link.ts'
export type {
  Evaluation, FrameworkStatus, NodeCommand, NodeConfiguration, NodeHealthCheck, NodeResources, NodeSpec, NodeState, NodeStatus, Outcome, Plan, PlanName, PlanPhase, PlanStep
} from './types.ts'
