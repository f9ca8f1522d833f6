//! The sessions of this moment, and which one goes when there are too many. Pure.
//!
//! A session belongs to one socket of a client, known by its address. All are bounded by `most`,
//! those of one source by a share of that, so that one host, a torrent client say, evicts its own
//! sessions and not those of the household. Who has to make room loses its least recently used one:
//! the source itself if its share is full, else the source that has the most.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// Of all sessions a source may have one in so many, where sources are told apart.
const SHARE: usize = 4;

/// Sessions by client.
#[derive(Debug)]
pub(super) struct Table<T> {
    most: usize,
    share: usize,
    places: HashMap<SocketAddr, usize>,
    slots: Vec<SessionSlot<T>>,
    free: Vec<usize>,
    sources: HashMap<IpAddr, SourceSessions>,
}

/// A session, in the list of its source: from the most to the least recently used.
#[derive(Debug)]
struct SessionSlot<T> {
    client: SocketAddr,
    session: Option<T>,
    newer: Option<usize>,
    older: Option<usize>,
}

/// What a source has.
#[derive(Debug)]
struct SourceSessions {
    count: usize,
    newest: usize,
    oldest: usize,
}

impl<T> Table<T> {
    /// Of `most` sessions. `by_source`: sources are told apart. (In local mode they are all this
    /// machine.)
    pub(super) fn new(most: usize, by_source: bool) -> Self {
        let mut table = Table {
            most: most.max(1),
            share: 0,
            places: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            sources: HashMap::new(),
        };
        table.set_by_source(by_source);
        table
    }

    /// From now on sources are told apart, or not.
    pub(super) fn set_by_source(&mut self, by_source: bool) {
        self.share = if by_source { (self.most / SHARE).max(1) } else { self.most };
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The session of this client, which is used now.
    pub(super) fn used(&mut self, client: SocketAddr) -> Option<&mut T> {
        let place = *self.places.get(&client)?;
        let source = self.sources.get(&client.ip())?;
        if source.newest != place {
            self.unlink(place);
            self.link(place);
        }
        self.slots[place].session.as_mut()
    }

    /// The session of this client, whether it is used or not.
    pub(super) fn peek(&self, client: SocketAddr) -> Option<&T> {
        self.slots[*self.places.get(&client)?].session.as_ref()
    }

    /// Adds the session of a client that has none. Returns the one that had to go, if one had.
    pub(super) fn add(&mut self, client: SocketAddr, session: T) -> Option<T> {
        let former = self.remove(client);
        let evicted = former.or_else(|| self.make_room(client.ip()));
        let slot = SessionSlot { client, session: Some(session), newer: None, older: None };
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.places.insert(client, place);
        self.link(place);
        evicted
    }

    /// Removes the session of this client.
    pub(super) fn remove(&mut self, client: SocketAddr) -> Option<T> {
        let place = self.places.remove(&client)?;
        self.unlink(place);
        self.free.push(place);
        self.slots[place].session.take()
    }

    fn make_room(&mut self, source: IpAddr) -> Option<T> {
        let held = self.sources.get(&source).map_or(0, |source| source.count);
        let from = if held >= self.share {
            source
        } else if self.len() >= self.most {
            *self.sources.iter().max_by_key(|(_, source)| source.count)?.0
        } else {
            return None;
        };
        let oldest = self.sources.get(&from)?.oldest;
        self.remove(self.slots[oldest].client)
    }

    /// Puts a slot at the front of its source's list.
    fn link(&mut self, place: usize) {
        let ip = self.slots[place].client.ip();
        let older = match self.sources.get_mut(&ip) {
            Some(source) => {
                let older = std::mem::replace(&mut source.newest, place);
                source.count += 1;
                Some(older)
            }
            None => {
                let source = SourceSessions { count: 1, newest: place, oldest: place };
                self.sources.insert(ip, source);
                None
            }
        };
        if let Some(older) = older {
            self.slots[older].newer = Some(place);
        }
        self.slots[place].older = older;
        self.slots[place].newer = None;
    }

    fn unlink(&mut self, place: usize) {
        let SessionSlot { client, newer, older, .. } = self.slots[place];
        if let Some(newer) = newer {
            self.slots[newer].older = older;
        }
        if let Some(older) = older {
            self.slots[older].newer = newer;
        }
        let Some(source) = self.sources.get_mut(&client.ip()) else { return };
        source.count -= 1;
        match (newer, older) {
            (None, None) => drop(self.sources.remove(&client.ip())),
            (None, Some(older)) => source.newest = older,
            (Some(newer), None) => source.oldest = newer,
            (Some(_), Some(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client(source: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 168, 1, source], port))
    }

    #[test]
    fn a_greedy_source_evicts_its_own() {
        let mut table = Table::new(8, true);
        for port in 0..2 {
            assert_eq!(table.add(client(1, port), (1, port)), None);
        }
        assert!(table.used(client(1, 0)).is_some());
        // Its share is two.
        assert_eq!(table.add(client(1, 2), (1, 2)), Some((1, 1)));
        assert_eq!(table.add(client(1, 3), (1, 3)), Some((1, 0)));
        assert_eq!(table.len(), 2);
        assert_eq!(table.add(client(2, 0), (2, 0)), None);
    }

    #[test]
    fn where_all_is_full_the_largest_makes_room() {
        let mut table = Table::new(4, true);
        table.set_by_source(false);
        for port in 0..3 {
            assert_eq!(table.add(client(1, port), port), None);
        }
        assert_eq!(table.add(client(2, 9), 9), None);
        assert_eq!(table.add(client(3, 7), 7), Some(0));
        assert_eq!(table.add(client(3, 8), 8), Some(1));
        assert!(table.used(client(2, 9)).is_some());
    }

    proptest! {
        /// Held against a list that is searched from end to end.
        #[test]
        fn as_a_plain_list_would(
            most in 1usize..9,
            by_source: bool,
            acts in prop::collection::vec((0u8..3, 0u8..4, 0u16..4), 0..120),
        ) {
            let mut table = Table::new(most, by_source);
            let share = if by_source { (most / SHARE).max(1) } else { most };
            // The most recently used comes last.
            let mut list: Vec<SocketAddr> = Vec::new();
            for (act, source, port) in acts {
                let client = client(source, port);
                let known = list.iter().position(|other| *other == client);
                match act {
                    0 => {
                        prop_assert_eq!(table.used(client).copied(), known.map(|_| client));
                        if let Some(place) = known {
                            let client = list.remove(place);
                            list.push(client);
                        }
                    }
                    1 => {
                        prop_assert_eq!(table.remove(client), known.map(|place| list[place]));
                        list.retain(|other| *other != client);
                    }
                    _ if known.is_none() => {
                        let of = |ip| list.iter().filter(|other| other.ip() == ip).count();
                        let held = of(client.ip());
                        let evicted = table.add(client, client);
                        match evicted {
                            None => prop_assert!(held < share && list.len() < most),
                            Some(gone) => {
                                if held >= share {
                                    prop_assert_eq!(gone.ip(), client.ip());
                                } else {
                                    prop_assert_eq!(list.len(), most);
                                    let largest = list.iter().map(|other| of(other.ip())).max();
                                    prop_assert_eq!(Some(of(gone.ip())), largest);
                                }
                                let oldest = list.iter().find(|other| other.ip() == gone.ip());
                                prop_assert_eq!(oldest, Some(&gone));
                                list.retain(|other| *other != gone);
                            }
                        }
                        list.push(client);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len(), list.len());
                prop_assert!(table.len() <= most);
            }
        }
    }
}
