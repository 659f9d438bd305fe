import type { FrameworkStatus, NodeState } from '../framework/index.ts'

const states: NodeState[] = ['wanted', 'reserving', 'creating', 'placed', 'launching', 'running', 'backoff', 'unreachable', 'draining', 'killing', 'stopped', 'gone']

/** In the text format of Prometheus. */
export function metricsOf ({ connected, nodesWanted, nodes, garbage, strays, plans }: FrameworkStatus): string {
  const lines: string[] = []
  const gauge = (name: string, help: string, values: Array<[string, number]>): void => {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} gauge`, ...values.map(([labels, value]) => `${name}${labels} ${value}`))
  }
  gauge('atoll_scheduler_connected', 'Whether a master serves the framework.', [['', connected ? 1 : 0]])
  gauge('atoll_scheduler_nodes_wanted', 'Storage nodes wanted.', [['', nodesWanted]])
  gauge('atoll_scheduler_nodes', 'Storage nodes in each state.', states.map((state) => [`{state="${state}"}`, nodes.filter((node) => node.state === state).length]))
  gauge('atoll_scheduler_nodes_outdated', 'Nodes that run with another configuration than that of today.', [['', nodes.filter(({ outdated }) => outdated).length]])
  gauge('atoll_scheduler_launches', 'Launches of each node so far.', nodes.map(({ id, launches }) => [`{node="${id}"}`, launches]))
  gauge('atoll_scheduler_failures', 'Failures in a row of each node.', nodes.map(({ id, attempts }) => [`{node="${id}"}`, attempts]))
  gauge('atoll_scheduler_garbage', 'Reservations given up and not yet freed.', [['', garbage.length]])
  gauge('atoll_scheduler_strays', 'Volumes with the label of the cluster that belong to no node.', [['', strays.length]])
  gauge('atoll_scheduler_plan_complete', 'Whether nothing is left of a plan.', plans.map(({ name, status }) => [`{plan="${name}"}`, status === 'complete' ? 1 : 0]))
  return `${lines.join('\n')}\n`
}
