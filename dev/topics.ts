import { readDevVars } from './settings.ts';
import { topicsCommand } from './topics-command.ts';

process.exitCode = await topicsCommand(process.argv.slice(2), { ...readDevVars(), ...process.env }, console.log);
