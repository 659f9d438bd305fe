import type { ProcessExit } from './effects.ts'

/** strsignal(3) of what ends processes. */
const signalTexts: Record<string, string> = {
  SIGHUP: 'Hangup',
  SIGINT: 'Interrupt',
  SIGQUIT: 'Quit',
  SIGILL: 'Illegal instruction',
  SIGTRAP: 'Trace/breakpoint trap',
  SIGABRT: 'Aborted',
  SIGBUS: 'Bus error',
  SIGFPE: 'Floating point exception',
  SIGKILL: 'Killed',
  SIGUSR1: 'User defined signal 1',
  SIGSEGV: 'Segmentation fault',
  SIGUSR2: 'User defined signal 2',
  SIGPIPE: 'Broken pipe',
  SIGALRM: 'Alarm clock',
  SIGTERM: 'Terminated',
  SIGXCPU: 'CPU time limit exceeded',
  SIGXFSZ: 'File size limit exceeded'
}

export function exitMessage (exit: ProcessExit): string {
  if (exit === 'unknown') return 'Executor terminated'
  return 'status' in exit ? `Command exited with status ${exit.status}` : `Command terminated with signal ${signalTexts[exit.signal] ?? exit.signal}`
}

export function succeeded (exit: ProcessExit): boolean { return exit !== 'unknown' && 'status' in exit && exit.status === 0 }
