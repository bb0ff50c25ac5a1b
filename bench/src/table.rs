//! The table that is printed, with a ratio and a verdict for each figure that has a target.

use comfy_table::{Table, presets};

/// Figures, one a line.
pub struct Figures(Table);

/// The middle one of several rounds.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Figures {
    /// None yet.
    pub fn new() -> Self {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["figure", "direct", "nginx", "Sidestep", "target", "reached"]);
        Self(table)
    }

    /// A figure: what it is for each, and what it should be.
    pub fn add(
        &mut self,
        what: &str,
        [direct, nginx, own]: [Option<f64>; 3],
        unit: &str,
        target: Target,
    ) {
        let shown = |value: Option<f64>| {
            value.map_or_else(String::new, |value| format!("{value:.2} {unit}"))
        };
        let (limit, reached) = target.judge(direct, nginx, own);
        self.0.add_row([what.to_owned(), shown(direct), shown(nginx), shown(own), limit, reached]);
    }

    /// Prints them.
    pub fn print(&self) {
        println!("{}", self.0);
    }
}

/// What a figure should be.
pub enum Target {
    /// So many times what nginx has, at most.
    TimesNginx(f64),
    /// So many times what nginx adds to the direct way, at most.
    AddsTimesNginx(f64),
    /// What nginx has and so much more, at most.
    NginxAnd(f64),
    /// So many times what the direct way has, at most.
    TimesDirect(f64),
    /// So much, at most.
    AtMost(f64),
    /// It is only shown.
    None,
}

impl Target {
    fn judge(&self, direct: Option<f64>, nginx: Option<f64>, own: Option<f64>) -> (String, String) {
        let (direct, nginx) = (direct.unwrap_or(f64::NAN), nginx.unwrap_or(f64::NAN));
        let own = own.unwrap_or(f64::NAN);
        let word = |is_reached: bool| if is_reached { "yes" } else { "no" };
        match *self {
            Self::TimesNginx(times) => {
                let ratio = own / nginx;
                (format!("<= {times} x nginx"), format!("{} ({ratio:.2})", word(ratio <= times)))
            }
            Self::AddsTimesNginx(times) => {
                let ratio = (own - direct) / (nginx - direct);
                (
                    format!("adds <= {times} x nginx"),
                    format!("{} ({ratio:.2})", word(ratio <= times)),
                )
            }
            Self::NginxAnd(more) => {
                let added = own - nginx;
                (format!("<= nginx + {more}"), format!("{} ({added:+.2})", word(added <= more)))
            }
            Self::TimesDirect(times) => {
                let ratio = own / direct;
                (format!("<= {times} x direct"), format!("{} ({ratio:.2})", word(ratio <= times)))
            }
            Self::AtMost(most) => (format!("<= {most}"), word(own <= most).to_owned()),
            Self::None => (String::new(), String::new()),
        }
    }
}
