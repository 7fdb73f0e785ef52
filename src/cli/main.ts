/** From the command line to the exit code. */
import { type Command, CommanderError } from 'commander';
import { ProcessContext } from './context.js';
import { failureOf } from './failure.js';
import { runInternal } from './internal.js';
import { buildProgram, commandPath } from './program.js';

/** How long something that nobody closed may keep the process. */
const LINGERING_MS_MAX = 5_000;

/** Runs one command and ends the process with its exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  const context = new ProcessContext();
  // Wrong use must answer in JSON too, although the options are not parsed then.
  context.output.json = argv.slice(0, endOfOptions(argv)).includes('--json');
  let streamError: NodeJS.ErrnoException | null = null;
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      streamError ??= error;
    });
  }
  const exitCode = await run(await buildProgram(context, argv), context, argv);
  await context.output.flush();
  const outputFailed = exitCode === 0 && exitCodeOfStream(streamError) !== 0;
  if (outputFailed) process.stderr.write(`cairn: ${lostResult(streamError)}\n`);
  endWith(outputFailed ? 1 : exitCode);
}

/** Lets Node end by itself. `process.exit` waits for V8's compiler threads while they may be waiting for a
 *  collection on this one, which was seen to hang for good; it is kept for what might stay open. */
function endWith(exitCode: number): void {
  process.exitCode = exitCode;
  setTimeout(() => process.exit(), LINGERING_MS_MAX).unref();
}

/** @returns the exit code; whatever is thrown has been told by then */
async function run(program: Command, context: ProcessContext, argv: readonly string[]): Promise<number> {
  try {
    const internal = await runInternal(program, argv);
    if (internal !== null) process.stdout.write(internal);
    else if (argv.length === 0) program.outputHelp();
    else await program.parseAsync(argv, { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (thrown) {
    // Help and version were printed; commander ends by throwing.
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return 0;
    const failure = failureOf(thrown, `${commandPath(program, argv)} --help`);
    context.output.fail(failure);
    // A command that was interrupted ends as the signal says, whatever its operation made of it.
    return context.interruption.exitCode ?? failure.exitCode;
  }
}

/** What the command did is done; only its result did not arrive. */
function lostResult(error: NodeJS.ErrnoException | null): string {
  return `The result could not be written (${error?.message ?? 'unknown'}); what was to be done is done.`;
}

function endOfOptions(argv: readonly string[]): number {
  const index = argv.indexOf('--');
  return index < 0 ? argv.length : index;
}

/** A reader that has seen enough, as `head` has, is no failure; a result that could not be written is one. */
function exitCodeOfStream(error: NodeJS.ErrnoException | null): number {
  return error === null || error.code === 'EPIPE' ? 0 : 1;
}
