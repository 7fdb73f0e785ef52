/** cairn instant <rev> <overlay.qcow2>, cairn instant --list, and cairn instant --finish <overlay> */
import type { Command } from 'commander';
import { CairnError } from '../../base/errors.js';
import { quoted } from '../../base/shell-word.js';
import { visible } from '../../base/visible.js';
import type { InstantOutcome } from '../../operations/instant.js';
import type { FinishOutcome, ListedOverlay } from '../../operations/instant-finish.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';
import type { Style } from '../style.js';
import { renderTable } from '../table.js';
import { age } from '../when.js';

interface Options {
  readonly mount?: string;
  readonly list?: true;
  readonly finish?: string;
  readonly force?: true;
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('instant')
    .helpGroup(GROUPS.restoring)
    .summary('run a machine from a revision at once, and move its data later')
    .description(
      'Makes a qcow2 overlay over the image of a revision in a mount of the repository: a machine starts from it at\n' +
        'once, and what it writes goes to the overlay; the revision stays as it is, and protected. The mount has to\n' +
        'stay for as long as the overlay needs it; where none runs, --mount starts one. When the data has moved\n' +
        '(see docs/restore.md), --finish gives the revision free. Without arguments it lists the overlays.',
    )
    .argument('[revision]', 'such as vm1@latest; a bare disk means its latest')
    .argument('[overlay]', 'a new file, such as /srv/vm1.qcow2')
    .option('--mount <dir>', 'use this mount of the repository, or start it there')
    .option('--list', 'the overlays, and what has become of them')
    .option('--finish <overlay>', 'nothing needs the revision under this overlay any more')
    .option('--force', 'with --finish: whatever has become of the overlay')
    .action(async (revision: string | undefined, overlay: string | undefined, options: Options) => {
      refuseMixed(revision, options);
      if (options.finish !== undefined) await finish(context, options.finish, options.force === true);
      else if (revision === undefined) await list(context);
      else if (overlay === undefined) throw new CairnError('USAGE', 'The argument “overlay” is missing.');
      else await make(context, revision, overlay, options.mount);
    });
  addExamples(
    command,
    ['cairn instant vm1@latest /srv/vm1.qcow2', 'an overlay to start the machine from'],
    ['cairn instant vm1@latest /srv/vm1.qcow2 --mount /mnt/cairn', 'and the mount with it'],
    ['qemu-img rebase -p -f qcow2 -b "" /srv/vm1.qcow2', 'all of the data, once the machine is off'],
    ['cairn instant --finish /srv/vm1.qcow2', 'the revision is free again'],
  );
}

function refuseMixed(revision: string | undefined, { list: isList, finish: overlay, force }: Options): void {
  const asked = [revision !== undefined, isList === true, overlay !== undefined].filter(Boolean).length;
  if (asked > 1) {
    throw new CairnError('USAGE', 'A revision, --list and --finish exclude each other.', {
      hint: 'See “cairn instant --help”.',
    });
  }
  if (force === true && overlay === undefined) throw new CairnError('USAGE', '--force belongs to --finish.');
}

async function make(
  context: CliContext,
  revision: string,
  overlay: string,
  mountpoint: string | undefined,
): Promise<void> {
  await context.withRepository(async (repository) => {
    const [{ instant }, { shownImage }] = await Promise.all([
      import('../../operations/instant.js'),
      import('../../mount/session/shown-image.js'),
    ]);
    const { waitMs, logLevel } = context.globals;
    const findImage = (row: Parameters<Parameters<typeof instant>[1]['findImage']>[0]) =>
      shownImage({ repository: repository.dir, row, mountpoint, logLevel });
    const outcome = await instant(repository, {
      revision,
      overlay,
      findImage,
      waitMs,
      signal: context.signal,
    });
    context.output.done(outcome, sentences(outcome));
  });
}

async function finish(context: CliContext, overlay: string, force: boolean): Promise<void> {
  await context.withRepository(async (repository) => {
    const { finishInstant } = await import('../../operations/instant-finish.js');
    const { waitMs } = context.globals;
    const outcome = await finishInstant(repository, { overlay, force, waitMs, signal: context.signal });
    context.output.done(outcome, finishSentence(outcome));
  });
}

async function list(context: CliContext): Promise<void> {
  await context.withRepository(async (repository) => {
    const { listOverlays } = await import('../../operations/instant-finish.js');
    const overlays = listOverlays(repository);
    if (overlays.length === 0) context.output.note('there are no overlays');
    context.output.result(
      overlays,
      overlays.length === 0 ? '' : render(overlays, context.output.style, Date.now()),
    );
  });
}

function sentences({ overlay, backing, disk, revision }: InstantOutcome): string {
  // A comma within a value is written twice.
  const file = overlay.replaceAll(',', ',,');
  const drive = `file=${file},file.node-name=overlay,format=qcow2,node-name=system,if=virtio,werror=stop,rerror=stop`;
  return [
    `${visible(overlay)} stands on ${visible(backing)}.`,
    `${disk}@${revision} is protected, and the mount is needed, until the data has moved.`,
    `Start from it:  qemu-system-x86_64 … -drive ${quoted(drive)}`,
    `In the end:     cairn instant --finish ${quoted(overlay)}`,
  ].join('\n');
}

function finishSentence({ disk, revision, protected: isProtected }: FinishOutcome): string {
  const name = `${disk}@${revision}`;
  return isProtected
    ? `${name} is not needed by that overlay any more; it stays protected, as it was otherwise.`
    : `${name} is not needed by an overlay any more and not protected.`;
}

function render(overlays: readonly ListedOverlay[], style: Style, nowMs: number): string {
  return renderTable<ListedOverlay>(
    [
      { title: 'OVERLAY', cell: ({ overlay }) => visible(overlay) },
      { title: 'REVISION', cell: ({ disk, revision }) => `${disk}@${revision}` },
      {
        title: 'STATE',
        cell: ({ state }) => state,
        style: (text, { state }) => (state === 'gone' || state === 'unknown' ? style.yellow(text) : text),
      },
      { title: 'AGE', align: 'right', cell: ({ madeAt }) => age(madeAt, nowMs) },
      { title: 'BY', cell: ({ by }) => visible(by) },
      { title: 'ON', cell: ({ backing }) => visible(backing) },
    ],
    overlays,
    style.bold,
  );
}
