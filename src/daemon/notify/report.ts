/** How notifications stand, as `status` and `check` tell it. */

export interface NotificationReport {
  /** Messages that wait to be delivered. */
  readonly pending: number;
  /** The oldest of them; RFC 3339. */
  readonly oldestPending: string | null;
  /** Ways that refuse at the moment. */
  readonly failing: readonly FailingWay[];
  /** Messages that were given up; they stay until somebody has seen them. */
  readonly lost: number;
  /** Ways of which nobody has confirmed for long that a person reads what comes. */
  readonly unconfirmed: readonly UnconfirmedWay[];
}

export interface FailingWay {
  /** As the configuration calls it. */
  readonly name: string;
  readonly since: string;
  readonly error: string;
}

export interface UnconfirmedWay {
  readonly name: string;
  /** When a code came back last; null where none ever did. */
  readonly confirmedAt: string | null;
}
