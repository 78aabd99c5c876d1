"""JavaScript and TypeScript: which files an import leads to."""

import pytest

from ingestion_assets_tests.repositories.graphs import edges, graph, lines

CASES = {
    "a sibling, an ending, an index": ("""
== src/a.ts
import { b } from './b'
import { c } from "./c.js"
import { d } from './d'
import './e.mjs'
== src/b.ts
export const b = 1
== src/c.ts
export const c = 1
== src/d/index.tsx
export const d = 1
== src/e.mts
""", """
src/a.ts > src/b.ts
src/a.ts > src/c.ts
src/a.ts > src/d/index.tsx
src/a.ts > src/e.mts
"""),
    "aliases with baseUrl, comments and commas": ("""
== tsconfig.json
{
  // where names lead
  "compilerOptions": {
    "baseUrl": "./src", /* from here */
    "paths": { "@lib/*": ["lib/*",], "config": ["settings.ts"], },
  },
}
== src/lib/x.ts
export const x = "// no comment"
== src/settings.ts
export const s = 1
== src/plain/y.ts
export const y = 1
== src/app/a.ts
import { x } from '@lib/x'
import { s } from 'config'
import { y } from 'plain/y'
import z from '@lib/gone'
""", """
src/app/a.ts > src/lib/x.ts
src/app/a.ts > src/settings.ts
src/app/a.ts > src/plain/y.ts
"""),
    "aliases that are extended, from the folder that declares them": ("""
== tsconfig.base.json
{"compilerOptions": {"paths": {"~/*": ["./shared/*"]}}}
== packages/one/tsconfig.json
{"extends": "../../tsconfig.base", "compilerOptions": {"strict": true}}
== packages/one/a.ts
import { f } from '~/f'
== shared/f.ts
export function f() {}
== packages/two/a.ts
import { f } from '~/f'
""", "packages/one/a.ts > shared/f.ts"),
    "configurations that extend each other": ("""
== tsconfig.json
{"extends": "./other.json"}
== tsconfig.other.json
{"extends": ["./tsconfig.json"], "compilerOptions": {"paths": {"@/*": ["./src/*"]}}}
== src/a.ts
import { b } from '@/b'
== src/b.ts
export const b = 1
""", "src/a.ts > src/b.ts"),
    "the exports of a workspace, built and not": ("""
== package.json
{"private": true, "workspaces": ["packages/*"]}
== packages/core/package.json
{"name": "@me/core", "exports": {
  ".": {"types": "./dist/index.d.ts", "import": "./dist/index.mjs"},
  "./deep/*": "./src/deep/*.ts",
  "./one": {"default": ["./src/one.ts"]}}}
== packages/core/src/index.ts
export const core = 1
== packages/core/src/deep/x.ts
export const x = 1
== packages/core/src/one.ts
export const one = 1
== packages/core/src/hidden.ts
export const hidden = 1
== packages/app/package.json
{"name": "app"}
== packages/app/a.ts
import { core } from '@me/core'
import { x } from '@me/core/deep/x'
import { one } from '@me/core/one'
import { hidden } from '@me/core/src/hidden'
import react from 'react'
""", """
packages/app/a.ts > packages/core/src/index.ts
packages/app/a.ts > packages/core/src/deep/x.ts
packages/app/a.ts > packages/core/src/one.ts
"""),
    "a workspace of pnpm, and main": ("""
== package.json
{"name": "root"}
== pnpm-workspace.yaml
packages:
  - 'libs/**'
  - '!libs/old'
== libs/deep/util/package.json
{"name": "util", "main": "lib/entry.js"}
== libs/deep/util/lib/entry.js
exports.f = 1
== libs/deep/util/other.js
exports.g = 1
== libs/old/package.json
{"name": "old", "main": "x.js"}
== libs/old/x.js
== a.js
const util = require('util')
const other = require('util/other')
const old = require('old')
""", """
a.js > libs/deep/util/lib/entry.js
a.js > libs/deep/util/other.js
"""),
    "a package that no workspace takes in": ("""
== package.json
{"name": "app"}
== fixtures/react/package.json
{"name": "react", "main": "index.js"}
== fixtures/react/index.js
== a.js
import React from 'react'
""", ""),
    "its own name, and its own imports": ("""
== package.json
{"name": "me", "exports": {".": "./index.js", "./x": "./lib/x.js"}, "imports": {"#in/*": "./lib/*.js"}}
== index.js
== lib/x.js
export const x = 1
== test/a.js
import me from 'me'
import { x } from 'me/x'
import y from '#in/x'
import z from '#in/gone'
""", """
test/a.js > index.js
test/a.js > lib/x.js
"""),
    "names that an index hands on": ("""
== ui/index.ts
export { Button } from './Button'
export { default as Card } from './Card'
export * from './more'
== ui/Button.tsx
export const Button = () => 1
== ui/Card.tsx
export default function Card() {}
== ui/more/index.ts
export * from './Table'
== ui/more/Table.tsx
export class Table {}
== app.tsx
import { Button, Card, Table } from './ui'
""", """
ui/index.ts > ui/Button.tsx
ui/index.ts > ui/Card.tsx
ui/index.ts > ui/more/index.ts
ui/more/index.ts > ui/more/Table.tsx
app.tsx > ui/index.ts
app.tsx > ui/Button.tsx
app.tsx > ui/Card.tsx
app.tsx > ui/more/Table.tsx
"""),
    "the same stem elsewhere": ("""
== a/util.ts
export const f = 1
== b/util.ts
export const f = 1
== b/x.ts
import { f } from './util'
import { f as g } from 'util'
""", "b/x.ts > b/util.ts"),
    "a cycle": ("""
== a.js
export * from './b'
export const a = 1
== b.js
export * from './a'
import { nowhere } from './a'
""", """
a.js > b.js
b.js > a.js
"""),
    "require, import(), import type, export from, a query": ("""
== a.ts
const b = require('./b')
const c = import('./c')
import type { D } from './d'
export { e } from './e'
import f from './f.ts?raw'
import g = require('./g')
== b.js
== c.ts
== d.ts
export interface D {}
== e.ts
export const e = 1
== f.ts
== g.ts
""", """
a.ts > b.js
a.ts > c.ts
a.ts > d.ts
a.ts > e.ts
a.ts > f.ts
a.ts > g.ts
"""),
    "a folder with a package.json, the parent, out of the tree": ("""
== lib/package.json
{"main": "./src/main.js"}
== lib/src/main.js
export const m = 1
== lib/src/x/a.js
import m from '../..'
import n from '../../../../../n'
import o from '../main'
== index.js
import m from './lib'
""", """
lib/src/x/a.js > lib/src/main.js
index.js > lib/src/main.js
"""),
    "a link to a folder": ("""
== app/package.json
{"name": "app", "dependencies": {"shared": "file:../shared", "left-pad": "1.0.0"}}
== shared/package.json
{"name": "anything", "module": "src/index.mjs"}
== shared/src/index.mjs
export const s = 1
== app/a.js
import { s } from 'shared'
import pad from 'left-pad'
""", "app/a.js > shared/src/index.mjs"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_imports_lead_to_files(case: str) -> None:
    tree, expected = CASES[case]
    assert edges(graph(tree)) == lines(expected)


def test_what_does_not_resolve_is_counted_by_how_it_is_written() -> None:
    found = graph("""
== tsconfig.json
{"compilerOptions": {"paths": {"@/*": ["./src/*"]}}}
== src/a.ts
import './style.css'
import x from './gone'
import y from '@/gone'
import z from '@/b'
import react from 'react'
import b from './b'
== src/b.ts
export default 1
""")
    assert found.resolved == {"typescript": {"alias": 1, "relative": 1}}
    assert found.unresolved == {"typescript": {"alias": 1, "asset": 1, "package": 1, "relative": 1}}


def test_a_declaration_stands_for_code_only_where_there_is_none() -> None:
    found = graph("""
== package.json
{"name": "me", "exports": {".": {"types": "./index.d.ts", "default": {"require": "./dist/me.cjs", "default": "./index.js"}},
 "./only": {"types": "./only.d.ts"}}}
== index.js
export default 1
== index.d.ts
export default 1
== only.d.ts
export default 1
== test/a.js
import me from 'me'
import only from 'me/only'
""")
    assert edges(found) == {"test/a.js > index.js", "test/a.js > only.d.ts"}


def test_what_a_module_hands_on_is_never_a_method() -> None:
    found = graph("""
== index.ts
export * from './doc'
export * from './tools'
== doc.ts
export class Doc {
  compile() {}
}
== tools.ts
export function compile() {}
== use.ts
import { compile } from './index'
compile()
""")
    assert "use.ts > tools.ts" in edges(found)
    assert "use.ts > doc.ts" not in edges(found)


def test_languages_of_one_family_share_names() -> None:
    found = graph("""
== a.js
import { make } from './b.js'
make()
== b.ts
export function make() {}
""")
    assert edges(found, "call") == edges(found, "reference") == {"a.js > b.ts"}
