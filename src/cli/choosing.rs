//! What the running daemon is told of its proxies: use this one, test those.

use super::asking::{SocketArgument, ask};
use super::out::{fail, print};
use crate::daemon::{PinOrder, Verb};
use crate::exit::UNAVAILABLE;
use crate::view::{DelayAsk, DelayView};
use clap::{Args, ValueHint, value_parser};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct UseArguments {
    /// The group; PROXY where the file has none.
    #[arg(value_hint = ValueHint::Other)]
    group: String,
    /// Its member; without it the policy of the group chooses again.
    #[arg(value_name = "PROXY", value_hint = ValueHint::Other)]
    member: Option<String>,
    #[command(flatten)]
    at: SocketArgument,
}

#[derive(Debug, Args)]
pub struct DelayArguments {
    /// Proxies, groups (their members), or DIRECT with --url; without any, every proxy. The command
    /// ends with 0 if one of them answers, with 69 if none does.
    #[arg(value_name = "PROXY", value_hint = ValueHint::Other)]
    names: Vec<String>,
    /// Fetch this through them, and tell the time until the answer begins. Without it they are
    /// asked what snet itself asks, and the time is that of an answer over a connection that
    /// stands.
    #[arg(long, value_hint = ValueHint::Url)]
    url: Option<String>,
    /// Seconds that each may take.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_hint = ValueHint::Other)]
    #[arg(value_parser = value_parser!(u64).range(1..=30))]
    timeout: u64,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: SocketArgument,
}

pub fn use_member(of: UseArguments) -> ExitCode {
    let UseArguments { group, member, at } = of;
    match ask(&at, &Verb::Use(PinOrder { group, member })) {
        Ok(words) => print(&words),
        Err(code) => code,
    }
}

pub fn delay(of: DelayArguments) -> ExitCode {
    let DelayArguments { names, url, timeout, json: as_json, at } = of;
    let wanted = DelayAsk { names, url, timeout: Some(timeout * 1000), expected: None };
    let json = match ask(&at, &Verb::Delay(wanted)) {
        Ok(json) => json,
        Err(code) => return code,
    };
    let views: Vec<DelayView> = match serde_json::from_str(&json) {
        Ok(views) => views,
        Err(error) => return fail(UNAVAILABLE, format_args!("snet answers otherwise: {error}")),
    };
    if as_json {
        print(&json);
    } else {
        let lines: Vec<_> = views.iter().map(DelayView::to_string).collect();
        print(&lines.join("\n"));
    }
    match views.iter().any(|view| view.delay_ms.is_some()) {
        true => ExitCode::SUCCESS,
        false => UNAVAILABLE.into(),
    }
}
