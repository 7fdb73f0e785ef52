/** Shows a person what would be lost, and takes nothing but the code of it for a yes. */
import { CairnError } from '../base/errors.js';
import { visible } from '../base/visible.js';
import { isSameCode, type Standing } from './standing.js';

/** Shows a question and gives back what a person typed. */
export type Confirm = (question: string) => Promise<string>;

export interface ConsentRequest {
  /** What would be put there, as in “web@20261120T201500Z-k3f9 (8 GiB)”. */
  readonly replacement: string;
  /** Only the partition table would be replaced. */
  readonly tableOnly?: boolean;
  /** Disks of this repository that are backed up from the target. */
  readonly sourceOf: readonly string[];
  readonly overwrite: boolean;
  /** The code that somebody read off before. */
  readonly expect?: string | undefined;
  /** Absent: nobody is there to ask. */
  readonly confirm?: Confirm | undefined;
}

/** @throws {CairnError} REFUSED where a code was given that is not the one of what stands there */
export function requireExpected(request: ConsentRequest, standing: Standing): void {
  if (request.expect === undefined || isSameCode(request.expect, standing.code)) return;
  const code = visible(request.expect);
  throw refused(
    request,
    standing,
    `The code ${code} is not the one of what stands there now; nothing was written.`,
  );
}

/** Returns when `--overwrite` and the code were given; that an expected one is right was checked before. `shown` is the
 *  target's name.
 *  @throws {CairnError} REFUSED */
export async function demandCode(request: ConsentRequest, standing: Standing, shown: string): Promise<void> {
  const { overwrite, expect, confirm } = request;
  if (!overwrite) throw refused(request, standing, 'Nothing was written: --overwrite was not given.');
  if (expect !== undefined) return;
  if (confirm === undefined)
    throw refused(request, standing, 'Nothing was written: nobody confirmed that this may be lost.');
  const loss = request.tableOnly === true ? '' : 'All of it would be lost. ';
  const question = `${report(request, standing)}\n${loss}Type ${standing.code} to go on: `;
  if (isSameCode(await confirm(question), standing.code)) return;
  throw new CairnError('REFUSED', `Nothing was written: the code of ${shown} was not typed.`);
}

function refused(request: ConsentRequest, standing: Standing, why: string): CairnError {
  const flags = `--overwrite --expect ${standing.code}`;
  return new CairnError('REFUSED', `${report(request, standing)}\n${why}`, {
    hint: `${request.tableOnly === true ? 'If that is meant' : 'If all of that may be lost'}, give ${flags}`,
  });
}

/** What stands there and what would be put in its place. */
export function report(
  { sourceOf, replacement, tableOnly }: ConsentRequest,
  { lines: [headline, ...content] }: Pick<Standing, 'lines'>,
): string {
  const lines = [
    `${headline} ${content.length === 0 ? 'holds nothing that is known here.' : 'holds:'}`,
    ...content.map((line) => `  ${line}`),
  ];
  for (const disk of sourceOf) {
    lines.push(`Disk “${disk}” is backed up from it, or from something with the same identity.`);
  }
  lines.push(
    tableOnly === true
      ? `Its partition table would be replaced by that of ${replacement}; nothing else would be touched.`
      : `It would be overwritten by ${replacement}.`,
  );
  return lines.join('\n');
}
