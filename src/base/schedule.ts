/** How often a disk is backed up, and for how long its revisions are kept. */

/** What a schedule says of one of its tags. */
export interface TagRule {
  readonly everyMs: number;
  /** How many revisions with the tag stay at least; 1 or more. */
  readonly keep: number;
}

export interface Schedule {
  readonly name: string;
  /** By tag, in the order of the configuration. Never empty. */
  readonly tags: ReadonlyMap<string, TagRule>;
}

/** Hours of every day, in local time. */
export interface DayHours {
  /** Minutes after midnight. */
  readonly fromMinute: number;
  /** Before `fromMinute` where they go over midnight. */
  readonly toMinute: number;
}
