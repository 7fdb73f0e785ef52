/** The number of a partition on the command line. */
import { InvalidArgumentError } from 'commander';

/** 0 is the whole disk where it has no partition table. */
export function parsePartition(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('It must be a number.');
  return Number(text);
}
