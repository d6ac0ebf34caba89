// A web application's use of ZooKeeper: the real client, in a class loader of its own as a servlet
// container gives each application one. With "stopped" as its second word the application is
// stopped the way that left the incident's thread behind: its class loader is closed, the client
// is not. It never talks to ZooKeeper but through the real client.

import java.io.File;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.net.URL;
import java.net.URLClassLoader;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;

public final class ZooKeeperClient {
    public static void main(String[] words) throws Exception {
        List<URL> jars = new ArrayList<>();
        for (String jar : words[2].split(":")) {
            jars.add(new File(jar).toURI().toURL());
        }
        URLClassLoader application =
                new URLClassLoader(jars.toArray(URL[]::new), ClassLoader.getPlatformClassLoader());
        // The client names its threads after the one that made it.
        Thread starter = new Thread(() -> start(application, words[0]), "Thread-3");
        starter.start();
        starter.join();
        if (words[1].equals("stopped")) {
            application.close();
        }
        System.out.println("ready");
        System.out.flush();
        new CountDownLatch(1).await();
    }

    private static void start(ClassLoader application, String servers) {
        try {
            CountDownLatch connected = new CountDownLatch(1);
            Class<?> watcher = application.loadClass("org.apache.zookeeper.Watcher");
            InvocationHandler told = (proxy, method, arguments) -> {
                if (method.getName().equals("process")) {
                    connected.countDown();
                    return null;
                }
                return method.getName().equals("hashCode") ? System.identityHashCode(proxy)
                        : method.getName().equals("equals") ? proxy == arguments[0] : "watcher";
            };
            Object listener = Proxy.newProxyInstance(application, new Class<?>[] {watcher}, told);
            Class<?> client = application.loadClass("org.apache.zookeeper.ZooKeeper");
            Object zookeeper = client.getConstructor(String.class, int.class, watcher)
                    .newInstance(servers, 30_000, listener);
            connected.await();
            // A client with a watch tells the server of it whenever it connects again.
            client.getMethod("exists", String.class, boolean.class).invoke(zookeeper, "/", true);
        } catch (ReflectiveOperationException | InterruptedException failed) {
            throw new IllegalStateException(failed);
        }
    }
}
