import { connectTo, describeFailure } from '../postgres/connection.ts';
import { parseOptions, UsageError } from '../support/options.ts';
import { Progress } from '../support/progress.ts';
import { stopSignal } from '../support/stop-signal.ts';
import { count, MoveStopped, moveTenant, undoMove } from './move.ts';
import { listMoves } from './places.ts';
import { purgeTenant } from './purge.ts';
import type { Cell } from './session.ts';
import { defaultCell, readCellUrls } from './urls.ts';

const help = `npm run cells -- <command>

  list                       the cells, how many tenants each serves, and the tenants that have moved or are moving
  move <tenant> --to <cell>  move a tenant to another cell. Its writes are paused until the end, and its reads for the
                             last second: they get 503, and clients retry. The rows are copied, counted and compared;
                             then the new cell serves the tenant, and the old cell forwards its keys. If the command
                             stops, run it again.
       [--from <cell>]       the cell that it leaves, if two cells each have a tenant with this id
       [--wait 180]          how many seconds to wait for running transactions and for undelivered events
  move <tenant> --undo       end a move that stopped: delete the copied rows and allow the tenant's writes again
  purge <tenant>             delete the rows that a tenant left behind, a week after its move or later
       [--now]               do not wait for a week

Set DATABASE_URL to the connection string of the default cell (--to ${defaultCell}), and DATABASE_URL_EU1 to that of the
cell eu1, each as the database's owner.

Exit codes: 0 done; 1 nothing has changed; 3 the move has begun and is not finished, so the tenant's writes are paused;
130 stopped by Ctrl-C.`;

const readArguments = () =>
  parseOptions('npm run cells', {
    allowPositionals: true,
    options: {
      to: { type: 'string' },
      from: { type: 'string' },
      wait: { type: 'string', default: '180' },
      undo: { type: 'boolean' },
      now: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });

async function connectToCells(): Promise<Cell[]> {
  const cells: Cell[] = [];
  try {
    for (const [name, url] of readCellUrls()) cells.push({ name, client: await connectTo(url) });
  } catch (error) {
    await disconnect(cells);
    throw error;
  }
  return cells;
}

const disconnect = (cells: Cell[]) => Promise.all(cells.map(({ client }) => client.end()));

async function list(cells: Cell[]): Promise<string> {
  const lines: string[] = [];
  for (const cell of cells) {
    const { served, moves } = await listMoves(cell);
    lines.push(`${cell.name}  ${count(served, 'tenant')}`);
    for (const { tenant, state, cell: other, movedAt, purgedAt } of moves) {
      const when = movedAt === null ? '' : ` on ${movedAt.toISOString().slice(0, 10)}`;
      const rows = state !== 'moved' ? '' : purgedAt === null ? ', its rows are still here' : ', its rows are deleted';
      lines.push(
        `  ${tenant}  ${state} ${state === 'arriving' || state === 'clearing' ? 'from' : 'to'} ${other}${when}${rows}`,
      );
    }
  }
  return lines.join('\n');
}

async function runCommand({ values, positionals }: ReturnType<typeof readArguments>): Promise<void> {
  const [command, tenant] = positionals;
  if (command === undefined || !['list', 'move', 'purge'].includes(command)) {
    throw new UsageError(command === undefined ? help : `unknown command ${command}\n\n${help}`);
  }
  const waitMs = Number(values.wait) * 1000;
  if (!(waitMs > 0)) throw new UsageError('--wait must be a number of seconds');
  if (command !== 'list' && tenant === undefined) {
    throw new UsageError(`the tenant is missing: npm run cells -- ${command} <tenant>`);
  }
  if (command === 'move' && (values.to === undefined) !== (values.undo === true)) {
    throw new UsageError('give either --to <cell> or --undo');
  }
  const progress = new Progress((text) => process.stdout.write(text), process.stdout.isTTY === true);
  const steps = { step: progress.step.bind(progress), say: progress.say.bind(progress) };
  const cells = await connectToCells();
  try {
    if (command === 'list') console.log(await list(cells));
    else if (command === 'purge')
      await purgeTenant(cells, tenant ?? '', { steps, ...(values.now ? { keepDays: 0 } : {}) });
    else if (values.undo) await undoMove(cells, tenant ?? '', { steps, from: values.from });
    else {
      const signal = stopSignal('Stopping after this batch …');
      await moveTenant(cells, tenant ?? '', values.to ?? '', { steps, from: values.from, waitMs, signal });
    }
  } finally {
    await disconnect(cells);
  }
}

if (import.meta.main) {
  try {
    const parsed = readArguments();
    if (parsed.values.help || process.argv.length === 2) console.log(help);
    else await runCommand(parsed);
  } catch (error) {
    const stopped = error instanceof MoveStopped;
    const cause = stopped && error.cause instanceof Error ? error.cause : error;
    const isInterrupt = cause instanceof Error && cause.name === 'AbortError';
    console.error(isInterrupt ? 'stopped' : describeFailure(cause));
    if (stopped) {
      console.error(
        "The tenant's writes are paused. Run the same command again to continue, or end the move with --undo.",
      );
    }
    process.exitCode = isInterrupt ? 130 : stopped ? 3 : 1;
  }
}
