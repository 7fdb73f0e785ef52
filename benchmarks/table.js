/** `node benchmarks/table.js <results.json>… [workload…]`: runs as Markdown on stdout, for docs/benchmarks.md. Several are
 *  those of one machine and size, a workload each. */
import { readFileSync } from 'node:fs';
import { besideText, figuresText, said } from './report.js';

const paths = process.argv.slice(2).filter((word) => word.endsWith('.json'));
const wanted = process.argv.slice(2).filter((word) => !word.endsWith('.json'));
if (paths.length === 0) {
  process.stderr.write('usage: node benchmarks/table.js <results.json>… [workload…]\n');
  process.exit(2);
}
process.stdout.write(
  tableOf(
    paths.map((path) => JSON.parse(readFileSync(path, 'utf8'))),
    wanted,
  ),
);

/** What it was measured on, the rows, the versions, and what was not measured. */
function tableOf(runs, workloads) {
  const { machine, rounds, sizeBytes, seed, disks, peers, leftOut } = runs[0];
  const commits = [...new Set(runs.map((run) => run.machine.commit))].join(', ');
  const results = runs.flatMap((run) => run.results);
  const chosen = results.filter(({ workload }) => workloads.length === 0 || workloads.includes(workload));
  const gib = (bytes) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  const of = disks === null ? '' : `, ${gib(disks.allocatedBytes)} allocated (${disks.tree})`;
  const versions = Object.entries(peers)
    .filter(([, { version }]) => version !== undefined)
    .map(([name, { version, settings, why }]) => `| ${name} | ${version} | ${settings} | ${why} |`);
  return [
    `${machine.at.slice(0, 10)}, ${machine.cores} cores (${machine.cpu}), ${gib(machine.memoryBytes)} of memory, ` +
      `Linux ${machine.kernel}, Node ${machine.node}, commit ${commits}. Disk of ${gib(sizeBytes)}${of}, ` +
      `seed ${seed}, ${rounds} rounds; medians (and spread).`,
    '',
    '| work | median (spread) | times | target | memory | stored |',
    '|---|---|---|---|---|---|',
    ...chosen.flatMap(linesOf),
    '',
    '| peer | version | settings | why |',
    '|---|---|---|---|',
    ...versions,
    '',
    ...leftOut.map(({ what, why }) => `- Not measured: ${what}: ${why}`),
    '',
  ].join('\n');
}

function linesOf({ workload, error, name, unit, ours, target, met, note, limits, failed = [], extra = {} }) {
  if (error !== undefined) return [line(workload, `failed: ${error}`)];
  const asked = target === undefined ? '' : `${target} ${unit}: ${said(met)}`;
  const beside = limits.map((limit) => {
    const { text, wanted } = besideText(limit);
    const bar = text.replace(/^(█+)/, '`$1`');
    return line(`– ${named(limit)}`, figuresText(limit, unit), bar, wanted, ...sizesOf(limit));
  });
  return [
    line(`**${named({ name, note })}**`, `**${figuresText(ours, unit)}**`, '', asked, ...sizesOf(extra)),
    ...beside,
    ...failed.map((one) => line(`– ${one.name}`, `failed: ${one.error}`)),
  ];
}

function named({ name, note }) {
  return note === undefined ? name : `${name} (${note})`;
}

function sizesOf({ peakBytes, storedBytes, files }) {
  const megabytes = (bytes) => (Number.isFinite(bytes) ? `${Math.round(bytes / 1e6)} MB` : '');
  return [megabytes(peakBytes), megabytes(storedBytes) + (files === undefined ? '' : `, ${files} files`)];
}

function line(...cells) {
  return `| ${[...cells, '', '', '', '', '', ''].slice(0, 6).join(' | ')} |`.replaceAll('\n', ' ');
}
