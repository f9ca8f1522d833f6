//! tokio's tasks behind one type for each result. For every type of future that it runs, tokio
//! makes some fifteen functions, 2 KiB; snet has close to two hundred. In a box they share them,
//! which costs one more allocation for a task.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};

type BoxedTask<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type LocalTask<T> = Pin<Box<dyn Future<Output = T>>>;
type BoxedWork<T> = Box<dyn FnOnce() -> T + Send>;

/// As [`tokio::spawn`].
#[track_caller]
pub fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(Box::pin(task) as BoxedTask<T>)
}

/// As [`tokio::task::spawn_local`].
#[track_caller]
pub fn spawn_local<T: 'static>(task: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    tokio::task::spawn_local(Box::pin(task) as LocalTask<T>)
}

/// As [`tokio::task::spawn_blocking`].
#[track_caller]
pub fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    tokio::task::spawn_blocking(Box::new(work) as BoxedWork<T>)
}

/// As [`tokio::task::JoinSet`], whose other methods it has.
#[derive(Debug)]
pub struct JoinSet<T>(tokio::task::JoinSet<T>);

impl<T: 'static> JoinSet<T> {
    /// An empty one.
    pub fn new() -> Self {
        JoinSet(tokio::task::JoinSet::new())
    }

    /// As [`tokio::task::JoinSet::spawn`].
    #[track_caller]
    pub fn spawn(&mut self, task: impl Future<Output = T> + Send + 'static) -> AbortHandle
    where
        T: Send,
    {
        self.0.spawn(Box::pin(task) as BoxedTask<T>)
    }

    /// As [`tokio::task::JoinSet::spawn_on`].
    #[track_caller]
    pub fn spawn_on(
        &mut self,
        task: impl Future<Output = T> + Send + 'static,
        runtime: &Handle,
    ) -> AbortHandle
    where
        T: Send,
    {
        self.0.spawn_on(Box::pin(task) as BoxedTask<T>, runtime)
    }

    /// As [`tokio::task::JoinSet::spawn_local`].
    #[track_caller]
    pub fn spawn_local(&mut self, task: impl Future<Output = T> + 'static) -> AbortHandle {
        self.0.spawn_local(Box::pin(task) as LocalTask<T>)
    }

    /// As [`tokio::task::JoinSet::join_all`].
    pub async fn join_all(self) -> Vec<T> {
        self.0.join_all().await
    }
}

impl<T: 'static> Default for JoinSet<T> {
    fn default() -> Self {
        JoinSet::new()
    }
}

impl<T> Deref for JoinSet<T> {
    type Target = tokio::task::JoinSet<T>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> DerefMut for JoinSet<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<T: Send + 'static, F: Future<Output = T> + Send + 'static> FromIterator<F> for JoinSet<T> {
    fn from_iter<I: IntoIterator<Item = F>>(tasks: I) -> Self {
        let mut set = JoinSet::new();
        tasks.into_iter().for_each(|task| drop(set.spawn(task)));
        set
    }
}
