/** cairn doctor [disk…] [--repair] */
import type { Command } from 'commander';
import { formatBytes } from '../../base/units.js';
import type { DoctorOutcome, Finding } from '../../operations/doctor.js';
import type { CliContext } from '../context.js';
import { count } from '../count.js';
import { foundExitCode } from '../exit-codes.js';
import { addExamples, GROUPS } from '../help.js';
import type { Style } from '../style.js';
import { progressByDisk } from './collect.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('doctor')
    .helpGroup(GROUPS.keeping)
    .summary('look for what is wrong with the repository, and mend it')
    .description(
      'Compares catalog, manifests, segments and logs with each other and explains what it finds, a sentence each.\n' +
        'With --repair it mends what can be mended without loss, and says what is left. It reads no blocks: “cairn\n' +
        'scrub” does.',
    )
    .argument('[disk...]', 'only these disks')
    .option('--repair', 'mend what can be mended without loss')
    .action(async (disks: string[], { repair = false }: { repair?: boolean }) => {
      const { examineHeader } = await import('../../operations/doctor-repository.js');
      const header = examineHeader(await context.repositoryDirectory(), repair);
      if (header !== null && !header.repaired) return tell(context, { ...NOTHING, findings: [header] });
      await context.withRepository(async (repository) => {
        const { doctor } = await import('../../operations/doctor.js');
        const { signal, globals } = context;
        const progress = progressByDisk(context);
        try {
          const { waitMs } = globals;
          const { onProgress } = progress;
          const outcome = await doctor(repository, { disks, repair, waitMs, signal, onProgress });
          progress.stop();
          const first = header === null ? [] : [header];
          tell(context, { ...outcome, findings: [...first, ...outcome.findings] });
        } finally {
          progress.stop();
        }
      }, true);
    });
  addExamples(
    command,
    ['cairn doctor', 'is anything wrong?'],
    ['cairn doctor --repair', 'mend it; nothing that can be read is thrown away'],
  );
}

const NOTHING: DoctorOutcome = { findings: [], damaged: [], done: [], disks: 0, revisions: 0 };

function tell(context: CliContext, outcome: DoctorOutcome): void {
  const { output } = context;
  const left = outcome.findings.filter(({ severity, repaired }) => severity === 'problem' && !repaired);
  output.result(outcome, output.quiet && left.length === 0 ? '' : render(outcome, left.length, output.style));
  if (left.length > 0) process.exitCode = foundExitCode;
}

function render(outcome: DoctorOutcome, left: number, style: Style): string {
  const { findings, damaged, done, disks, revisions } = outcome;
  const lines = findings.map((finding) => line(finding, style));
  const lost = damaged.map(
    ({ disk, offset, length, revisions: of }) =>
      `  ${disk}: ${formatBytes(length)} at offset ${offset} cannot be read in ${of.length === 1 ? of[0] : count(of.length, 'revision')}`,
  );
  const where = `${count(disks, 'disk')} and ${count(revisions, 'revision')} looked at`;
  const mended = findings.filter(({ repaired }) => repaired).length;
  const parts = [
    left === 0 ? 'nothing is wrong' : `${count(left, 'problem')}`,
    mended === 0 ? '' : `${mended} mended`,
  ];
  const summary = `${where}: ${parts.filter((part) => part !== '').join(', ')}.`;
  return [...lines, ...lost, ...done.map((sentence) => `done    ${sentence}`), summary].join('\n');
}

/** `✗ vm1: …`, and below it what can be done. */
function line({ disk, message, repair, severity, repaired, revisions }: Finding, style: Style): string {
  const about = disk === null ? '' : `${disk}: `;
  const of = revisions.length > 1 ? ` (${count(revisions.length, 'revision')})` : '';
  if (repaired) return `${style.bold('mended')}  ${about}${message}${of}`;
  if (severity === 'note') return `note    ${about}${message}${of}`;
  const way = repair === null ? '' : `\n        “cairn doctor --repair” ${repair}.`;
  return `${style.red('problem')} ${about}${message}${of}${way}`;
}
