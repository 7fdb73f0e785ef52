/** cairn restore-many <plan> */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { parseSize } from '../../base/units.js';
import { visible } from '../../base/visible.js';
import { nameOf } from '../../operations/restore-many/item.js';
import type { ManyOutcome } from '../../operations/restore-many/restore-many.js';
import type { Repository } from '../../repository/repository.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';
import { checkReport } from '../many/check-report.js';
import { checkDocument, exitCodeOf, manyDocument, problemsOf } from '../many/many-document.js';
import { ManyProgress } from '../many/many-progress.js';
import { finalTable, totalLine } from '../many/many-table.js';

interface Options {
  readonly check?: true;
  readonly rate?: number;
  readonly state?: string;
}

const PROGRAM = fileURLToPath(new URL('../../../bin/cairn.js', import.meta.url));

const PLAN_HELP = `
The plan is a YAML file:
  parallel: 4                     restores at once (default: as many as there are cores, 2 to 8)
  keep-going: true                leave damaged blocks out instead of giving a disk up (default: false)
  verify: true                    read back what was written (default: false)
  restores:
    - revision: vm1@latest        settled when the plan is first begun
      target: /dev/vg0/vm1        a file or block device; relative ones are meant from the plan's directory
      priority: 10                higher ones first (default: 0)
      deadline: 30m               from the first start, or a time: 2026-11-25T06:00:00Z; earlier ones first
      overwrite: true             replace what is on the target (default: false)
      expect: k3f9-2mqa           the code of what stands there, as --check shows it
      partition: 2                only this one; or “volume: vg/lv”
    - revision: data              with “same-moment-as”, a disk: the revision of it that was taken
      same-moment-as: vm1@latest  together with this one
      target: /dev/vg0/data

The plan is read again whenever it changes: priorities, deadlines and “parallel” count at once, restores that have not
begun can be added and taken out. <plan>.state beside it remembers what is done, so after any interruption the same
command goes on: what is finished is not written again, what was begun is completed.`;

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('restore-many')
    .helpGroup(GROUPS.restoring)
    .summary('bring many disks back as a plan says, the most urgent first')
    .description(
      'Restores everything that a plan names, several at once: highest priority first,\n' +
        'then earliest deadline. One failure stops nothing; what failed is listed at the\n' +
        'end. Every target is guarded as by “cairn restore”.',
    )
    .argument('<plan>', 'a YAML file, see below')
    .option('--check', 'write nothing: say whether revisions, targets, space and deadlines are right')
    .option(
      '--rate <size>',
      'what the restores will reach together a second, for --check (default: measured)',
      parseSize,
    )
    .option('--state <file>', 'where to remember what is done (default: <plan>.state)')
    .action((plan: string, { check, rate, state }: Options) => {
      const files = { plan: path.resolve(plan), state: path.resolve(state ?? `${plan}.state`) };
      return context.withRepository((repository) =>
        check === true ? checkOnly(context, repository, files, rate) : carryOut(context, repository, files),
      );
    });
  command.addHelpText('after', PLAN_HELP);
  addExamples(
    command,
    ['cairn restore-many plan.yaml --check', 'before anything is written'],
    ['cairn restore-many plan.yaml', 'begin, or go on after an interruption'],
  );
}

interface Files {
  readonly plan: string;
  readonly state: string;
}

async function checkOnly(
  { output }: CliContext,
  repository: Repository,
  files: Files,
  bytesPerSecond: number | undefined,
): Promise<void> {
  const { checkPlan } = await import('../../operations/restore-many/check.js');
  const outcome = await checkPlan(repository, { ...files, bytesPerSecond });
  const codes = problemsOf(outcome).map(({ code }) => code);
  const isRight = codes.length === 0;
  const text = output.quiet && isRight ? '' : checkReport(outcome, output.style);
  output.result(checkDocument(outcome, files.plan), text);
  process.exitCode = exitCodeOf(codes);
}

async function carryOut(context: CliContext, repository: Repository, files: Files): Promise<void> {
  const { restoreMany } = await import('../../operations/restore-many/restore-many.js');
  const { globals, output, signal } = context;
  const terminal = globals.progress ? output.statusStream : null;
  const progress = new ManyProgress(output, terminal);
  try {
    const outcome = await restoreMany(repository, {
      ...files,
      program: [process.execPath, PROGRAM, '-r', repository.dir, '--log-level', globals.logLevel],
      waitMs: globals.waitMs,
      signal,
      onChange: (view) => progress.update(view),
      onNote: (sentence, isRoutine) => {
        if (terminal === null || !isRoutine) output.note(sentence);
      },
    });
    progress.stop();
    const forecast = progress.forecast(outcome);
    const text = [
      finalTable(outcome, forecast, output.style),
      ...failures(outcome),
      totalLine(outcome, forecast),
    ].join('\n');
    const isAllDone = outcome.items.every(({ failure }) => failure === null);
    output.result(manyDocument(outcome, files.plan, files.state), output.quiet && isAllDone ? '' : text);
    process.exitCode = exitCodeOf(outcome.items.flatMap(({ failure }) => failure?.code ?? []));
  } finally {
    progress.stop();
  }
}

function failures({ items }: ManyOutcome): string[] {
  return items.flatMap((item) => {
    if (item.failure === null) return [];
    const { message, hint } = item.failure;
    const what = item.state === 'failed' ? 'failed' : 'is damaged';
    const text = `${nameOf(item)} → ${visible(item.planned.target)} ${what}: ${message}`;
    return hint === null ? text : `${text}\n  hint: ${hint}`;
  });
}
