//! Which Linux this is.

use nix::sys::utsname::uname;

/// Whether it is older than this. One that does not say is not.
pub(in crate::firewall) fn is_before(version: (u32, u32)) -> bool {
    let release = uname().ok().map(|name| name.release().to_string_lossy().into_owned());
    release.as_deref().and_then(version_of).is_some_and(|this| this < version)
}

/// Of `4.14.141-vendor`, `6.12-rc3`.
fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        assert_eq!(version_of("4.14.141-vendor"), Some((4, 14)));
        assert_eq!(version_of("6.12-rc3"), Some((6, 12)));
        assert_eq!(version_of("unknown"), None);
        assert!(is_before((1000, 0)) && !is_before((2, 6)));
    }
}
