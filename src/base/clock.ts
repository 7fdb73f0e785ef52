/** Time as the house writes it down. */

/** Where the time comes from; tests bring their own. */
export type Clock = () => Date;

export const systemClock: Clock = () => new Date();

/** RFC 3339 in UTC with milliseconds: `2026-11-20T20:15:00.000Z`. */
export function timestamp(clock: Clock = systemClock): string {
  return clock().toISOString();
}
