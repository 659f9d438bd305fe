import { nodeSpecVariable } from '../../fsnode/protocol/node-spec.ts'
import type { NodeSpec } from '../../fsnode/protocol/node-spec.ts'
import type { CommandInfo, EnvironmentVariable, Resource, TaskInfo } from '../mesos/types.ts'
import { labelCluster, labelNode, volumePath } from './constants.ts'
import type { FrameworkState } from './state.ts'
import type { FrameworkSettings, NodeCommand, NodeRecord } from './types.ts'

const bytesPerMb = 1024 * 1024

/** What the node is told. Only for a node that has a place while the manager group's addresses are known. */
export function nodeSpec (state: FrameworkState, node: NodeRecord): NodeSpec {
  return {
    clusterId: state.framework.clusterId,
    nodeId: node.id,
    host: node.host!,
    rpcPort: node.rpcPort!,
    raftPort: node.raftPort!,
    dataDirectory: volumePath,
    managers: state.framework.managers.map((id) => state.managerAddresses.get(id)!),
    capacityBytes: node.resources!.diskMb * bytesPerMb,
    domain: node.domain
  }
}

/** The launch of a node's current task on resources as they were offered. */
export function taskInfo (state: FrameworkState, settings: FrameworkSettings, node: NodeRecord, resources: Resource[]): TaskInfo {
  return {
    name: node.id,
    task_id: { value: node.task!.id },
    agent_id: { value: node.task!.agentId },
    resources,
    command: commandInfo(settings.nodeCommand, { [nodeSpecVariable]: JSON.stringify(nodeSpec(state, node)) }),
    kill_policy: { grace_period: { nanoseconds: settings.killGraceMs * 1e6 } },
    labels: {
      labels: [
        { key: labelCluster, value: state.framework.clusterId },
        { key: labelNode, value: node.id }
      ]
    }
  }
}

function commandInfo (command: NodeCommand, extra: Record<string, string>): CommandInfo {
  const variables: EnvironmentVariable[] = Object.entries({ ...command.environment, ...extra })
    .map(([name, value]) => ({ name, type: 'VALUE', value }))
  const environment = { variables }
  return command.arguments === undefined
    ? { shell: true, value: command.value, environment }
    : { shell: false, value: command.arguments[0]!, arguments: command.arguments, environment }
}
