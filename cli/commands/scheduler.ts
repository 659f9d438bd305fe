import { Option, type Command } from 'commander'
import { AtollError, messageOf } from '../../fsnode/protocol/errors.ts'
import { createLogger } from '../../fsnode/protocol/pino-log.ts'
import { systemClock, systemRandom } from '../../fsnode/protocol/system.ts'
import { identify } from '../../fsnode/protocol/processes.ts'
import { startEmbedded } from '../../scheduler/embedded.ts'
import { ClusterFilePublisher } from '../cluster-file.ts'
import { DataDirectory, type ClusterSettings } from '../data-directory.ts'
import { placementOption, wholeNumber } from './volume.ts'
import { OperatorServer } from '../../scheduler/operator/server.ts'
import { operatorToken, schedulerOnMaster, writeOperatorFile, type MasterOptions } from './scheduler-on-master.ts'
import { operateCommands } from './scheduler-operate.ts'

interface SchedulerOptions extends MasterOptions { embedded?: boolean, data?: string, replicas?: number, placement?: 'hawaii' | 'tivoli' }

export function schedulerCommand (program: Command): void {
  const scheduler = program.command('scheduler')
    .description('the framework: launches storage nodes on what a scheduler offers')
    .option('--master <host:port,...>', 'masters of a Mesos cluster, or zk://host:port,.../path')
    .addOption(new Option('--embedded', 'with a master and agent for this machine of its own (what "up" starts)').conflicts('master'))
    .option('--data <dir>', 'where its state is kept')
    .option('--nodes <n>', 'storage nodes wanted', wholeNumber, 3)
    .option('--role <role>', 'of its own: volumes are offered to the whole role', 'atoll')
    .option('--principal <name>', 'carried by reservations', 'atoll')
    .option('--secret-file <path>', 'file with the secret of the principal, for masters with authentication')
    .option('--tls-ca <path>', 'authority of the certificates of the masters (https)')
    .option('--tls-cert <path>', 'certificate that we show to masters')
    .option('--tls-key <path>', 'its key')
    .option('--nodes-per-agent <n>', 'at most', wholeNumber, 1)
    .option('--cpus <n>', 'of each node', Number, 1)
    .option('--mem <MB>', 'of each node', wholeNumber, 512)
    .option('--disk <MB>', 'of each new place; nodes that have one keep theirs ("update --disk" makes it larger)', wholeNumber, 10_240)
    .addOption(new Option('--disk-type <type>', 'of the disk that volumes are on').choices(['root', 'path', 'mount']).default('root'))
    .option('--constraint <constraint...>', 'where nodes may go: rack=r1|r2, rack!=r3, hostname~REGEX, rack<=1 (at most one in each rack)')
    .option('--replace-after <seconds>', 'a node that is away for so long is replaced; its volume stays', wholeNumber, 600)
    .option('--listen <host:port>', 'operator API and node artifact', '127.0.0.1:0')
    .option('--listen-cert <path>', 'certificate: the API speaks https then')
    .option('--listen-key <path>', 'its key')
    .option('--artifact', 'serve a self-contained node for agents to fetch, and start nodes from it')
    .option('--artifact-url <url>', 'where agents reach what we serve (default: as it listens)')
    .option('--cluster <host:port,...>', 'nodes of a running cluster: stand by while another scheduler acts, else take its state over')
    .option('--new-framework-id', 'go on under a new id when the master has removed the framework')
    .option('--node-command <command>', 'shell command that starts a node on an agent (default: this installation, at the same path)')
    .addOption(new Option('--replicas <n>').argParser(wholeNumber).hideHelp())
    .addOption(placementOption().hideHelp())
    .action(async (options: SchedulerOptions) => {
      if (options.embedded === true) await embedded(options)
      else await schedulerOnMaster(options)
    })
  operateCommands(scheduler)
}

/** Runs until SIGTERM, which ends the nodes too. After kill -9 they go on, and the next start takes them over. */
async function embedded (options: SchedulerOptions): Promise<void> {
  if (options.data === undefined) throw new AtollError('ATOLL_USAGE', '--embedded needs --data DIR')
  const directory = new DataDirectory(options.data)
  directory.prepare()
  const settings: ClusterSettings = { nodes: options.nodes, replicas: options.replicas ?? Math.min(3, options.nodes), placement: options.placement ?? 'hawaii' }
  const log = createLogger('scheduler')
  const ended = Promise.withResolvers<'stop' | 'leave'>()
  const stop = (): void => {
    directory.addStopper()
    ended.resolve('stop')
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, stop)
  // Whoever starts another one in its place, with other settings, has the nodes go on.
  process.on('SIGUSR2', () => { ended.resolve('leave') })
  // Whoever has removed a cluster file that was damaged asks for a new one.
  let rewrite = (): void => {}
  process.on('SIGHUP', () => { rewrite() })
  const running = await startEmbedded({ clock: systemClock, random: systemRandom, log }, {
    directory: directory.schedulerDirectory,
    nodes: settings.nodes,
    onOwned: () => { directory.writeScheduler({ process: identify(process.pid)!, settings }) }
  })
  const publisher = new ClusterFilePublisher(directory, settings, running)
  const publish = (force: boolean): void => {
    try {
      publisher.publish(force)
    } catch (error) {
      log.warn('the cluster file was not written', { error: messageOf(error) })
    }
  }
  rewrite = () => { publish(true) }
  publish(true)
  const operator = new OperatorServer({ log }, { host: '127.0.0.1', port: 0, token: operatorToken(directory.schedulerDirectory) })
  writeOperatorFile(directory.schedulerDirectory, { url: await operator.listen(), token: operatorToken(directory.schedulerDirectory), pid: process.pid })
  operator.use(running.framework)
  running.framework.onChange(() => { publish(false) })
  log.info('running', { master: running.master.url, nodes: settings.nodes })
  const how = await ended.promise
  await operator.close()
  if (how === 'leave') {
    log.info('leaving; the nodes go on')
    await running.leave()
    return
  }
  log.info('ending the nodes')
  await running.shutdown()
  directory.removeStopper()
}
