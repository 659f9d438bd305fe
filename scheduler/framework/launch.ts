import { nodeSpecVariable } from '../../fsnode/protocol/node-spec.ts'
import type { NodeSpec } from '../../fsnode/protocol/node-spec.ts'
import type { CommandInfo, Environment, HealthCheck, Resource, TaskInfo } from '../mesos/types.ts'
import { labelCluster, labelNode, volumePath } from './constants.ts'
import type { FrameworkState } from './state.ts'
import type { NodeCommand, NodeHealthCheck, NodeRecord } from './types.ts'

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
export function taskInfo (state: FrameworkState, node: NodeRecord, resources: Resource[]): TaskInfo {
  const { nodeCommand, healthCheck, killGraceMs } = state.framework.configuration!
  const extra = { [nodeSpecVariable]: JSON.stringify(nodeSpec(state, node)) }
  return {
    name: node.id,
    task_id: { value: node.task!.id },
    agent_id: { value: node.task!.agentId },
    resources,
    command: commandInfo(nodeCommand, extra),
    ...(healthCheck === null ? {} : { health_check: checkInfo(healthCheck, { ...nodeCommand.environment, ...extra }) }),
    kill_policy: { grace_period: { nanoseconds: killGraceMs * 1e6 } },
    labels: {
      labels: [
        { key: labelCluster, value: state.framework.clusterId },
        { key: labelNode, value: node.id }
      ]
    }
  }
}

function commandInfo (command: NodeCommand, extra: Record<string, string>): CommandInfo {
  const uris = command.uris?.map(({ value, executable, extract, outputFile }) => ({
    value,
    ...(executable === undefined ? {} : { executable }),
    ...(extract === undefined ? {} : { extract }),
    ...(outputFile === undefined ? {} : { output_file: outputFile })
  }))
  return {
    ...programOf(command),
    ...(uris === undefined ? {} : { uris }),
    environment: environmentOf({ ...command.environment, ...extra })
  }
}

function checkInfo ({ command, intervalMs, timeoutMs, failuresMax, graceMs }: NodeHealthCheck, environment: Record<string, string>): HealthCheck {
  return {
    type: 'COMMAND',
    command: { ...programOf(command), environment: environmentOf(environment) },
    delay_seconds: 0,
    interval_seconds: intervalMs / 1000,
    timeout_seconds: timeoutMs / 1000,
    consecutive_failures: failuresMax,
    grace_period_seconds: graceMs / 1000
  }
}

const programOf = (command: { value?: string, arguments?: string[] }): CommandInfo => command.arguments === undefined
  ? { shell: true, value: command.value! }
  : { shell: false, value: command.arguments[0]!, arguments: command.arguments }

const environmentOf = (environment: Record<string, string>): Environment =>
  ({ variables: Object.entries(environment).map(([name, value]) => ({ name, type: 'VALUE', value })) })
