#!/usr/bin/env node
import { existsSync } from 'node:fs';
import process from 'node:process';

const program = new URL('../dist/cli/main.js', import.meta.url);
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

if (major < 20 || (major === 20 && minor < 17)) {
  process.stderr.write(
    `cairn: Node.js ${process.versions.node} is too old\n  hint: install Node.js 20.17 or newer\n`,
  );
  process.exitCode = 1;
} else if (!existsSync(program)) {
  process.stderr.write('cairn: this checkout is not built yet\n  hint: run bin/setup in it\n');
  process.exitCode = 1;
} else {
  const { main } = await import(program.href);
  await main(process.argv.slice(2));
}
