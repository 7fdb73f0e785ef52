/** An item of a plan as the words of `cairn restore`. */
import type { RestorePlan } from '../../config/restore-plan.js';
import type { Item } from './item.js';

/** But for those about its target's content. */
export function wordsOf(
  { planned, meant }: Readonly<Item>,
  { verify, keepGoing }: Pick<RestorePlan, 'verify' | 'keepGoing'>,
): string[] {
  const { partition, volume, target } = planned;
  return [
    'restore',
    `${meant?.disk}@${meant?.revision}`,
    target,
    ...(partition === null ? [] : ['--partition', String(partition)]),
    ...(volume === null ? [] : ['--volume', volume]),
    ...(verify ? ['--verify'] : []),
    ...(keepGoing ? ['--keep-going'] : []),
  ];
}
