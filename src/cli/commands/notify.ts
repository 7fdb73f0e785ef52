/** cairn notify [--test | --confirm <code>] */
import { type Command, Option } from 'commander';
import { CairnError } from '../../base/errors.js';
import { formatDuration } from '../../base/units.js';
import { visible } from '../../base/visible.js';
import type { Notifications } from '../../config/notifications.js';
import type { Confirmation } from '../../daemon/notify/confirmations.js';
import type { NotificationStanding, WayStanding } from '../../daemon/notify/standing.js';
import type { TestedWay } from '../../daemon/notify/test-messages.js';
import type { Layout } from '../../repository/layout.js';
import type { CliContext } from '../context.js';
import { count } from '../count.js';
import { addExamples, GROUPS } from '../help.js';
import type { Style } from '../style.js';
import { renderTable } from '../table.js';
import { age, localTime } from '../when.js';

interface NotifyOptions {
  readonly test?: boolean;
  readonly confirm?: string;
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('notify')
    .helpGroup(GROUPS.running)
    .summary('how notifications stand; test that they arrive')
    .description(
      'Lists the ways by which people are told: what waits, what fails, what arrived last, and when somebody last\n' +
        'proved to have read it. A wrong mailbox accepts mail, too, so --test sends a code by every way, and whoever gets\n' +
        'it gives it to --confirm. Ways that nobody has confirmed for 90 days are a warning of “cairn check”.',
    )
    .option('--test', 'send a code by every way now, and say which accepted it (1 where one did not)')
    .addOption(
      new Option('--confirm <code>', 'say that this code arrived (2 where it is unknown)').conflicts('test'),
    )
    .action(async ({ test = false, confirm }: NotifyOptions) => {
      if (confirm !== undefined) return await confirmCode(context, confirm);
      return test ? await sendCodes(context) : await show(context);
    });
  addExamples(
    command,
    ['cairn notify', 'which ways there are, and how they stand'],
    ['cairn notify --test', 'send a code by each'],
    ['cairn notify --confirm k7dm-2xqp-9fwt', 'it arrived where somebody reads it'],
  );
}

async function show(context: CliContext): Promise<void> {
  const { standingOf } = await import('../../daemon/notify/standing.js');
  const { output } = context;
  const { notifications } = await context.config();
  const standing = standingOf(await layoutOf(context), notifications);
  if (standing.lost > 0)
    output.warn(
      `${count(standing.lost, 'notification')} could not be delivered and ${standing.lost === 1 ? 'was' : 'were'} given up; daemon/undelivered in the repository has them. Remove them when they have been read.`,
    );
  if (standing.ways.length === 0) output.note('no notifications are configured');
  output.result(standing, renderStanding(standing, output.style, Date.now()));
}

async function sendCodes(context: CliContext): Promise<void> {
  const { sendTests } = await import('../../daemon/notify/test-messages.js');
  const { output, signal } = context;
  const config = await requireWays(context);
  const ways = await sendTests({ layout: await layoutOf(context), config, signal });
  if (signal.aborted)
    throw new CairnError(
      'CANCELLED',
      'The test was interrupted. Codes that arrive can be confirmed all the same.',
    );
  output.result({ ways }, renderTested(ways, output.style));
  if (ways.some(({ accepted }) => !accepted)) process.exitCode = 1;
  else output.note('whoever gets a code confirms it with “cairn notify --confirm <code>”');
}

async function confirmCode(context: CliContext, code: string): Promise<void> {
  const { confirm } = await import('../../daemon/notify/confirmations.js');
  const { way, recipient, confirmedAt } = confirm(await layoutOf(context), code, Date.now());
  context.output.done({ way, recipient, confirmedAt }, `Confirmed: ${nameOf({ way, recipient })} is read.`);
}

/** @throws {CairnError} NOT_A_REPOSITORY, and what reading its header throws */
async function layoutOf(context: CliContext): Promise<Layout> {
  const [{ Layout }, { readHeader }, { realDirectory }] = await Promise.all([
    import('../../repository/layout.js'),
    import('../../repository/header.js'),
    import('../../repository/access.js'),
  ]);
  const layout = new Layout(realDirectory(await context.repositoryDirectory()));
  readHeader(layout);
  return layout;
}

/** @throws {CairnError} USAGE where there are none */
async function requireWays(context: CliContext): Promise<Notifications> {
  const { notifications } = await context.config();
  if (notifications !== null && notifications.ways.length > 0) return notifications;
  throw new CairnError('USAGE', 'No way to tell anybody anything is configured.', {
    hint: 'Write “notifications: {ways: {ops: {mail: {to: ops@example.org}}}}” in the configuration file.',
  });
}

function renderStanding({ ways }: NotificationStanding, style: Style, nowMs: number): string {
  if (ways.length === 0) return '';
  const ago = (time: string | null) => (time === null ? '-' : age(time, nowMs));
  const table = renderTable<WayStanding>(
    [
      { title: 'WAY', cell: ({ way }) => visible(way) },
      { title: 'RECIPIENT', cell: ({ recipient }) => visible(recipient ?? '') },
      { title: 'BY', cell: ({ kind }) => kind ?? 'not configured' },
      { title: 'WAITING', align: 'right', cell: ({ pending }) => String(pending) },
      { title: 'ARRIVED', align: 'right', cell: ({ lastDeliveredAt }) => ago(lastDeliveredAt) },
      {
        title: 'FAILING SINCE',
        cell: ({ failingSince }) => (failingSince === null ? '' : localTime(failingSince)),
        style: (text) => style.red(text),
      },
      {
        title: 'CONFIRMED',
        align: 'right',
        cell: ({ kind, confirmedAt }) => (kind === 'heartbeat' ? '' : ago(confirmedAt)),
        style: (text, { confirmedAt }) => (confirmedAt === null ? style.yellow(text) : text),
      },
    ],
    ways,
    style.bold,
  );
  const errors = ways.flatMap(({ error, ...way }) =>
    error === null ? [] : [`${nameOf(way)}: ${visible(error, 300)}`],
  );
  return [table, ...errors].join('\n');
}

function renderTested(ways: readonly TestedWay[], style: Style): string {
  return renderTable<TestedWay>(
    [
      { title: 'WAY', cell: ({ way }) => way },
      { title: 'RECIPIENT', cell: ({ recipient }) => visible(recipient ?? '') },
      {
        title: 'RESULT',
        cell: ({ accepted, error }) => (accepted ? 'accepted' : `refused: ${visible(error ?? '', 300)}`),
        style: (text, { accepted }) => (accepted ? text : style.red(text)),
      },
      { title: 'TOOK', align: 'right', cell: ({ durationMs }) => formatDuration(durationMs) },
    ],
    ways,
    style.bold,
  );
}

function nameOf({ way, recipient }: Pick<Confirmation, 'way' | 'recipient'>): string {
  return recipient === null ? `“${visible(way)}”` : `“${visible(way)}” (${visible(recipient)})`;
}
