/** Chances of mishaps; all zero is a master without faults. */
export interface Chaos {
  /** Of an operation nothing is done and nothing is told: a CREATE that is lost in silence is one of them. */
  dropOperation: number
  failOperation: number
  loseFeedback: number
  dropLaunch: number
  failTask: number
  repeatUpdate: number
  rescind: number
  disconnect: number
  partition: number
  /** News of agents, rescinds and feedback come late, and so in another order. */
  delay: number
  /** What the master says on its own is not repeated when it is lost. */
  loseNews: number
  /** The master starts again and knows only what its agents tell when they return. */
  restart: number
  /** An operator declares an agent gone. */
  gone: number
  /** A call, or the answer to it, is lost: nobody answers, or the connection breaks. */
  loseCall: number
  /** A call arrives twice. */
  repeatCall: number
  /** The stream brings nothing any more, and does not end. */
  hang: number
  /** Bytes of the stream come in other pieces than the master sent. */
  split: number
  /** Another master comes to lead; until it does, some are down or starting, and others redirect to whom they please: in circles, or to the dead. */
  election: number
  /** Offers are made that never reach the scheduler; the master takes them for outstanding. */
  loseOffers: number
  /** The master removes the framework: its tasks are killed, its id is refused. */
  forget: number
  /** An operator announces that a machine goes; it is asked for by inverse offers, and taken down when it may go. */
  maintain: number
  /** He takes it down when its time has come, though it may not go. */
  insist: number
}

export const calm: Chaos = {
  dropOperation: 0,
  failOperation: 0,
  loseFeedback: 0,
  dropLaunch: 0,
  failTask: 0,
  repeatUpdate: 0,
  rescind: 0,
  disconnect: 0,
  partition: 0,
  delay: 0,
  loseNews: 0,
  restart: 0,
  gone: 0,
  loseCall: 0,
  repeatCall: 0,
  hang: 0,
  split: 0,
  election: 0,
  loseOffers: 0,
  forget: 0,
  maintain: 0,
  insist: 0
}

export type Mishap = keyof Chaos
