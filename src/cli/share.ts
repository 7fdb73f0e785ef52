/** Parts of a whole as people write them. */
import { CairnError } from '../base/errors.js';
import { visible } from '../base/visible.js';

/** The share of `5%`, `0.5%` or `0.05`: above 0, up to 1.
 *  @throws {CairnError} USAGE */
export function parseShare(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(%?)$/.exec(text.trim());
  const share = match === null ? Number.NaN : Number(match[1]) / (match[2] === '%' ? 100 : 1);
  if (share > 0 && share <= 1) return share;
  throw new CairnError('USAGE', `“${visible(text)}” is no part of a disk.`, {
    hint: 'Write a percentage above 0 and up to 100, such as 5%.',
  });
}
