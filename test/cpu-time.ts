/** Processor time of this process so far, ms: what others do on the machine does not count. */
export function cpuMs (): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}
