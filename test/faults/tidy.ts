/** That commands succeed as they should, and leave nothing without a use. */
import type { CollectOutcome } from '../../src/operations/collect.js';
import type { Cli } from '../cli/cli-lab.js';
import type { ExpectedDisk } from './expected-disk.js';
import { leftovers, sealedOfNobody } from './look.js';
import { PromiseBroken } from './promise-broken.js';
import type { Run } from './run-at.js';

/** What is said of tags that were given by hand. */
const HARMLESS = /^The schedule of /;

/** A command has reported success, without a warning that something was wrong. If it was killed, then afterwards.
 *  @throws {PromiseBroken} */
export function requireSuccess({ exitCode, killed, report, stderr }: Run, args: readonly string[]): void {
  const isDone = (killed || exitCode === 0) && report !== null;
  // Sources here change altogether, which a backup remarks on.
  const early = new Set(
    ((report?.['earlyWarnings'] ?? []) as { message: string }[]).map(({ message }) => message),
  );
  const told = (report?.['warnings'] ?? []) as string[];
  const warnings = told.filter((text) => !early.has(text) && !HARMLESS.test(text));
  if (isDone && report['error'] === undefined && warnings.length === 0) return;
  const said = `${JSON.stringify(report)} ${stderr}`;
  throw new PromiseBroken('other', `cairn ${args.join(' ')} ended with ${exitCode}: ${said}`);
}

/** After a backup and a collect of each of `disks`, no file is there without a use, and nothing is left to collect.
 *  @throws {PromiseBroken} */
export async function requireTidy(cli: Cli, disks: readonly ExpectedDisk[]): Promise<void> {
  const left = leftovers(cli.repository);
  if (left.length > 0) throw new PromiseBroken('other', `left behind: ${left.join(', ')}`);
  for (const disk of disks) {
    const dry = await cli.json<CollectOutcome>('collect', disk.name, '--dry-run');
    const rest = dry.disks.map((collected) => [
      collected.revisionsDisposed,
      collected.revisionsPinned,
      collected.segmentsUnlinked,
      collected.segmentsRewritten,
    ]);
    if (rest.flat().some((count) => count !== 0))
      throw new PromiseBroken('other', `a second collect of ${disk.name} would do ${JSON.stringify(dry)}`);
    const unknown = sealedOfNobody(cli.repository, disk);
    if (unknown.length > 0) throw new PromiseBroken('other', `nobody knows segments ${unknown.join(', ')}`);
  }
}
