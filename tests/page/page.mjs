// The status page as a browser has it. Arguments: the program, Chromium, a folder for screenshots.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import { chromium } from "playwright-core";

const [program, executablePath, folder] = process.argv.slice(2);
const started = [];
const demo = start("demo", "--listen", "127.0.0.1:0");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-quic"] });
try {
  const origin = await address(demo);
  const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  const foreign = [];
  page.on("request", (request) => request.url().startsWith(origin) || foreign.push(request.url()));

  await page.goto(`${origin}/sidestep`);
  await page.getByText("None so far").waitFor();
  await page.locator("#live", { hasText: /^live$/ }).waitFor();
  await shoot(page, "idle");

  // What happens while the page is open comes to it without a reload.
  await page.evaluate(() => { window.stayed = true; });
  const ids = [];
  for (let count = 0; count < 6; count++) ids.push(await ask(origin, count % 2 === 0));
  for (const id of ids) await page.getByText(id).waitFor();
  await page.getByText(/primary.*\u2192.*secondary.*answered \(after/).first().waitFor();
  assert.ok(await page.evaluate(() => window.stayed), "the page was loaded again");
  await shoot(page, "failovers");

  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.emulateMedia({ colorScheme: "light" });
  const light = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.notEqual(dark, light, "dark looks like light");
  await page.emulateMedia({ colorScheme: "dark" });
  await shoot(page, "dark");

  await page.setViewportSize({ width: 390, height: 844 });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(overflow <= 0, `${overflow} px stick out on a phone`);
  await shoot(page, "phone");

  // Whoever gets a script into the page cannot run it.
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.injected = true";
    document.body.append(script);
  });
  assert.equal(await page.evaluate(() => window.injected), undefined, "an inline script ran");
  const expected = complaints.splice(0).filter((text) => !/inline script/.test(text));
  assert.deepEqual(expected, [], "errors in the console");
  assert.deepEqual(foreign, [], "something was loaded from elsewhere");

  // What is gone is said to be gone.
  demo.kill();
  await page.locator("#live", { hasText: /not/ }).waitFor();

  // What is on the bench is shown with why, and how long until it is tried again.
  const benched = await chain();
  await page.goto(`${benched}/sidestep`);
  await page.locator("li.ready").nth(1).waitFor();
  await ask(benched, false);
  const first = page.locator("li.benched");
  await first.getByText("on the bench").waitFor();
  await first.getByText(/quota, 1\u00d7; tried again in [\dhmins ]+ \(20/).waitFor();
  assert.match(await page.locator(".figure").nth(2).innerText(), /^1\s+failovers$/);
  await shoot(page, "benched");
  console.log("the page is good");
} finally {
  started.forEach((child) => child.kill());
  await browser.close();
}

function start(...words) {
  const child = spawn(program, words, { stdio: ["ignore", "pipe", "ignore"] });
  started.push(child);
  return child;
}

async function address(child) {
  for await (const line of createInterface({ input: child.stdout })) {
    const found = line.match(/http:\/\/127\.0\.0\.1:\d+/);
    if (found) return found[0];
  }
  throw new Error("the program has ended");
}

/** Two backends, of which the first one's quota is used up, and a Sidestep with its defaults before them. */
async function chain() {
  const home = mkdtempSync(`${tmpdir()}/page-`);
  const backends = [];
  for (const fault of ["402", "ok"]) {
    backends.push(await address(start("faults", "--listen", "127.0.0.1:0", "--default", fault)));
  }
  const [first, second] = backends;
  writeFileSync(`${home}/sidestep.toml`, `
    [backends.first]
    base_url = "${first}/v1"
    auth = [{ kind = "bearer", secret = "one" }]
    [backends.second]
    base_url = "${second}/v1"
    [[routes]]
    default = true
    chain = ["first", "second"]`);
  start("serve", "--listen", "127.0.0.1:0", "--config", `${home}/sidestep.toml`, "--server-info", `${home}/info`);
  while (!existsSync(`${home}/info`)) await setTimeout(20);
  const info = JSON.parse(readFileSync(`${home}/info`, "utf8"));
  rmSync(home, { recursive: true });
  return new URL(info.base_url).origin;
}

async function ask(origin, stream) {
  const answer = await fetch(`${origin}/v1/responses`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "demo", input: "hi", stream }),
  });
  assert.equal(answer.status, 200);
  await answer.text();
  return answer.headers.get("x-request-id");
}

async function shoot(page, name) {
  if (folder) await page.screenshot({ path: `${folder}/${name}.png` });
}
