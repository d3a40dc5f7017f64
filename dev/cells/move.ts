import { activateTenant, clearArrival, copiedTables, prepareArrival, raiseSequences } from './arrival.ts';
import { describeDifferences, type Figures, readFigures } from './compare.ts';
import { copyTable, MoveLost } from './copy.ts';
import { closeTenant, forwardTenant, pauseTenant, recordStep, redirectTenant, reopenTenant } from './departure.ts';
import { type Place, readPlace, readPlaces } from './places.ts';
import { awaitDeliveries, awaitRunningTransactions, WaitedTooLong } from './quiet.ts';
import { asMover, type Cell } from './session.ts';
import { findTenantTables, type Table } from './tables.ts';

/** Shows a step while it runs, and its result. */
export type Steps = {
  step: <T>(label: string, work: () => Promise<T>, describe?: (result: T) => string) => Promise<T>;
  say: (text: string) => void;
};

export type MoveOptions = {
  steps: Steps;
  /** The cell that the tenant leaves. Only needed if two cells each have a tenant with this id. */
  from?: string | undefined;
  /** How long to wait for running transactions, and for undelivered events. */
  waitMs?: number;
  signal?: AbortSignal;
  /** Called after each step, and after each copied table. A test throws here to stop the move like a crash. */
  after?: (step: string) => void;
};

/** The move has begun and is not finished: the tenant's writes are paused. */
export class MoveStopped extends Error {}

/** A number with its noun, such as `1,200 rows`. */
export const count = (n: number, noun: string): string => `${n.toLocaleString('en-US')} ${noun}${n === 1 ? '' : 's'}`;

/**
 * Moves a tenant to another cell. If an earlier run stopped, this one continues. Writes are paused until it ends; reads
 * are served until the last second. At no time do two cells serve the tenant.
 * @throws MoveStopped if the move has begun and cannot end now
 */
export async function moveTenant(cells: Cell[], tenant: string, to: string, options: MoveOptions): Promise<void> {
  const { steps, from } = options;
  const target = findCell(cells, to);
  const places = await readPlaces(cells, tenant);
  const source = findLeaving(places, from) ?? findHome(places, tenant, from);
  if (source.move && source.move.cell !== to) {
    throw new MoveStopped(`${tenant} is on its way to ${source.move.cell}: finish that move, or undo it (--undo)`);
  }
  if (source.cell === target) steps.say(`${tenant} is served by ${to} already`);
  else {
    const tables = await checkCells(source, target, tenant);
    const moveId = source.move?.moveId ?? (await steps.step('pause', () => pauseTenant(source.cell, tenant, to)));
    try {
      await new Move(source, target, tables, { tenant, moveId }, options).run();
    } catch (error) {
      if (error instanceof WaitedTooLong) throw error;
      throw new MoveStopped((error as Error).message, { cause: error });
    }
  }
  await shortenForwarding(cells, tenant, target, steps);
}

function findCell(cells: Cell[], name: string): Cell {
  const cell = cells.find((each) => each.name === name);
  if (cell === undefined) throw new Error(`there is no cell ${name}: set DATABASE_URL_${name.toUpperCase()}`);
  return cell;
}

const findLeaving = (places: Place[], from?: string): Place | undefined =>
  places.find(
    ({ cell, state }) => (state === 'moving' || state === 'switching') && (from === undefined || cell.name === from),
  );

function findHome(places: Place[], tenant: string, from?: string): Place {
  const homes = places.filter(({ cell, state }) => state === 'here' && (from === undefined || cell.name === from));
  const [home, second] = homes;
  if (home === undefined)
    throw new Error(`no cell serves a tenant ${tenant}: check its id, and the cells ("npm run cells -- list")`);
  if (second !== undefined) {
    const names = homes.map(({ cell }) => cell.name).join(' and ');
    throw new Error(`${names} each have a tenant ${tenant}: name the one with --from <cell>`);
  }
  return home;
}

/** Checks the conditions of a move before anything changes. Resolves with the tables that have rows of tenants. */
async function checkCells({ cell: source, state }: Place, target: Cell, tenant: string): Promise<Table[]> {
  const installed = async ({ client }: Cell): Promise<Map<string, string>> => {
    const { rows } = await client.query<{ name: string; sha256: string }>(
      'select name, sha256 from platform.migrations',
    );
    return new Map(rows.map(({ name, sha256 }) => [name, sha256]));
  };
  const [here, there] = await Promise.all([installed(source), installed(target)]);
  for (const name of new Set([...here.keys(), ...there.keys()])) {
    if (here.get(name) === there.get(name)) continue;
    throw new Error(`${source.name} and ${target.name} differ in ${name}: run "npm run migrate" for both first`);
  }
  const place = await readPlace(target, tenant);
  if (state === 'here' && ['here', 'moving', 'switching'].includes(place.state)) {
    throw new Error(
      `the cell ${target.name} has a tenant ${tenant} of its own: ids must differ, so ${tenant} cannot move there`,
    );
  }
  return findTenantTables(source.client);
}

/** Cells that the tenant left earlier forward it to the target directly, not through the cells in between. */
async function shortenForwarding(cells: Cell[], tenant: string, target: Cell, steps: Steps): Promise<void> {
  const forwarding = (await readPlaces(cells, tenant)).filter(({ state }) => state === 'moved');
  const last = forwarding.find(({ move }) => move?.cell === target.name);
  for (const { cell, move } of forwarding) {
    if (last === undefined || move?.cell !== last.cell.name) continue;
    await redirectTenant(cell, tenant, last.cell.name, target.name);
    steps.say(`${cell.name} forwards the tenant's keys to ${target.name}`);
  }
}

class Move {
  private readonly from: Place;
  private readonly target: Cell;
  private readonly tables: Table[];
  private readonly tenant: string;
  private readonly moveId: string;
  private readonly options: MoveOptions;
  private readonly done: Record<string, unknown>;

  constructor(
    from: Place,
    target: Cell,
    tables: Table[],
    { tenant, moveId }: { tenant: string; moveId: string },
    options: MoveOptions,
  ) {
    this.from = from;
    this.target = target;
    this.tables = tables;
    this.tenant = tenant;
    this.moveId = moveId;
    this.options = options;
    this.done = from.move?.steps ?? {};
  }

  async run(): Promise<void> {
    const { tenant, target, tables, moveId } = this;
    const { cell: source, move } = this.from;
    const { steps, signal, waitMs = 180_000 } = this.options;
    this.reached('pause');
    if (move?.state !== 'switching') {
      try {
        await this.once(
          'wait',
          () => awaitRunningTransactions(source, { waitMs, signal }),
          (n) => `${count(n, 'transaction')} had begun before`,
        );
        await steps.step(
          'deliver',
          () => awaitDeliveries(source, () => this.countWaiting(), { waitMs, signal }),
          (n) => count(n, 'event'),
        );
      } catch (error) {
        if (!(error instanceof WaitedTooLong) || this.done.prepare !== undefined) throw error;
        // Nothing is copied yet, so the tenant need not wait until the cause is found.
        await reopenTenant(source, tenant, moveId);
        throw new WaitedTooLong(`${error.message}\nThe move has ended, and ${source.name} serves ${tenant} as before.`);
      }
      this.reached('deliver');
      await this.once(
        'prepare',
        () => prepareArrival(source, target, tables, tenant, moveId),
        (n) => (n === 0 ? '' : `${count(n, 'row')} of an earlier stay deleted`),
      );
      await steps.step(
        'copy',
        () => this.copy(),
        (n) => count(n, 'row'),
      );
      await steps.step(
        'number',
        () => raiseSequences(target, tables, tenant),
        (n) => `${count(n, 'sequence')} raised`,
      );
      this.reached('number');
      await steps.step(
        'check',
        () => this.check(),
        (n) => `${count(n, 'row')} in both cells: counts, sums and rows agree`,
      );
      this.reached('check');
      signal?.throwIfAborted();
      if (!(await closeTenant(source, tenant, moveId))) throw new MoveLost();
      this.reached('close');
    }
    await steps.step(
      'switch',
      () => activateTenant(source, target, tenant, moveId),
      () => `${target.name} serves ${tenant}`,
    );
    this.reached('switch');
    await forwardTenant(source, tenant, moveId);
    this.reached('forward');
  }

  /** A step that need not be repeated. It is recorded in the old cell when it is done. */
  private async once<T>(label: string, work: () => Promise<T>, describe: (result: T) => string): Promise<void> {
    if (this.done[label] === undefined) {
      await this.options.steps.step(label, work, describe);
      await recordStep(this.from.cell, this.tenant, this.moveId, label);
    }
    this.reached(label);
  }

  private reached(step: string): void {
    this.options.signal?.throwIfAborted();
    this.options.after?.(step);
  }

  private async countWaiting(): Promise<number> {
    const { client } = this.from.cell;
    const { rows } = await asMover(client, this.tenant, () =>
      client.query<{ n: number }>('select count(*)::int as n from platform.outbox where tenant_id = $1', [this.tenant]),
    );
    return rows[0]?.n ?? 0;
  }

  private async copy(): Promise<number> {
    let rows = 0;
    for (const table of copiedTables(this.tables)) {
      const { tenant, moveId } = this;
      rows += await copyTable(this.from.cell, this.target, table, { tenant, moveId, signal: this.options.signal });
      this.reached(`copy ${table.name}`);
    }
    return rows;
  }

  /** Compares both cells. The rows cannot change any more, so they are still equal at the switch. */
  private async check(): Promise<number> {
    const { tenant, target } = this;
    const source = this.from.cell;
    const differences: string[] = [];
    let rows = 0;
    const waiting = await this.countWaiting();
    if (waiting > 0) differences.push(`${waiting} events of the tenant are not delivered`);
    for (const table of this.tables) {
      const read = (cell: Cell): Promise<Figures> => readFigures(cell, table, tenant);
      const [here, there] = await Promise.all([read(source), read(target)]);
      rows += Number(here.rows);
      differences.push(...describeDifferences(table.name, here, there));
      this.options.signal?.throwIfAborted();
    }
    if (differences.length > 0) throw new Error(`the cells differ, so the move stops\n  ${differences.join('\n  ')}`);
    return rows;
  }
}

/**
 * Ends a move that has not switched: deletes the copied rows, and the old cell serves the tenant as before. Can be
 * repeated.
 */
export async function undoMove(
  cells: Cell[],
  tenant: string,
  { steps, from }: Pick<MoveOptions, 'steps' | 'from'>,
): Promise<void> {
  const leaving = findLeaving(await readPlaces(cells, tenant), from);
  if (!leaving?.move) throw new Error(`no move of ${tenant} is under way`);
  const { cell: to, moveId } = leaving.move;
  const target = findCell(cells, to);
  const tables = await findTenantTables(leaving.cell.client);
  const cleared = await steps.step('clear', () => clearArrival(target, tables, tenant, moveId));
  if (!cleared) throw new MoveStopped(`${to} serves ${tenant} already: run the move again, and it ends`);
  await steps.step(
    'reopen',
    () => reopenTenant(leaving.cell, tenant, moveId),
    () => `${leaving.cell.name} serves ${tenant}`,
  );
}
