//! `plugin` and `plugin-options` of a `[[proxy]]`.

use super::item::Item;
use super::section::Section;
use crate::plugin::spec::PluginSpec;
use crate::secret::Secret;

/// The two keys, not read yet.
pub(super) struct PluginKeys<'a> {
    program: Option<Item<'a>>,
    options: Option<Item<'a>>,
}

impl<'a> PluginKeys<'a> {
    pub(super) fn of(section: &Section<'a>) -> Self {
        PluginKeys { program: section.item("plugin"), options: section.item("plugin-options") }
    }

    pub(super) fn written(&self) -> [&Option<Item<'a>>; 2] {
        [&self.program, &self.options]
    }

    /// For a protocol that has none.
    pub(super) fn refuse(&self) {
        const ACCEPTED: &str = "nothing: only type = \"shadowsocks\" has a plugin";
        if let Some(item) = &self.program {
            item.refuse::<()>(ACCEPTED);
        }
        if let Some(item) = &self.options
            && item.secret().is_some()
        {
            item.refuse_as::<()>("options of a plugin", ACCEPTED);
        }
    }

    /// `Some(None)`: there is none; `None`: it was refused.
    pub(super) fn read(&self) -> Option<Option<PluginSpec>> {
        let program = self.program.as_ref().map(|item| item.parse(PluginSpec::program_of));
        let options = self.options.as_ref().map(options);
        match (program, options) {
            (None, None) => Some(None),
            (Some(program), options) => {
                let options = options.unwrap_or_else(|| Some(Secret::new("")));
                Some(Some(PluginSpec::new(program?, options?)))
            }
            (None, Some(_)) => {
                let item = self.options.as_ref()?;
                item.refuse_as("options without a plugin", "plugin = \"obfs-local\" beside them")
            }
        }
    }
}

/// They may hold a password.
fn options(item: &Item<'_>) -> Option<Secret> {
    let text = item.secret()?;
    PluginSpec::options_of(text).map_or_else(
        |accepted| item.refuse_as(format!("options of {} bytes", text.len()), accepted),
        Some,
    )
}
