/** cairn trust <rev> distrusted|trusted */
import { Argument, type Command } from 'commander';
import type { TrustOptions, TrustOutcome } from '../../operations/trust.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('trust')
    .helpGroup(GROUPS.keeping)
    .summary('distrust a revision, or trust it again')
    .description(
      'Says what is thought of a revision. A distrusted one is passed over by “latest”, counts for no schedule, and no\n' +
        'backup relies on it; it stays and can be read. “verified” is set by comparisons alone.',
    )
    .argument('<revision>', 'such as vm1@latest')
    .addArgument(new Argument('<trust>', 'what to think of it').choices(['distrusted', 'trusted']))
    .action((revision: string, trust: TrustOptions['trust']) =>
      context.withRepository(async (repository) => {
        const { setTrust } = await import('../../operations/trust.js');
        const { waitMs } = context.globals;
        const { isNewest, ...outcome } = await setTrust(repository, {
          revision,
          trust,
          waitMs,
          signal: context.signal,
        });
        context.output.done(outcome, sentence({ ...outcome, isNewest }));
      }),
    );
  addExamples(
    command,
    ['cairn trust vm1@latest distrusted', 'vm1@latest is the one before it from now on'],
    ['cairn trust vm1@20261120T201500Z-k3f9 trusted', 'it was looked at and is good'],
  );
}

function sentence({ disk, revision, trust, changed, isNewest }: TrustOutcome): string {
  const name = `${disk}@${revision}`;
  if (!changed) return `${name} was ${trust} already.`;
  const next = `, so the next backup of “${disk}” compares bytes, not digests`;
  return `${name} is now ${trust}${trust === 'distrusted' && isNewest ? next : ''}.`;
}
