import 'dart:async';

/// A place that is measured.
abstract class Sensor {
  Sensor(this.name, {this.unit = 'C'});

  final String name;
  final String unit;

  Future<double> read();
}

class Thermometer extends Sensor {
  Thermometer(String name, this._values) : super(name);

  final List<double> _values;
  int _next = 0;

  @override
  Future<double> read() async {
    if (_values.isEmpty) {
      throw StateError('no value for $name');
    }
    final value = _values[_next % _values.length];
    _next += 1;
    return value;
  }
}

Map<String, double> averages(Map<String, List<double>> readings) {
  final result = <String, double>{};
  for (final entry in readings.entries) {
    final sum = entry.value.fold(0.0, (a, b) => a + b);
    result[entry.key] = sum / entry.value.length;
  }
  return result;
}

Future<void> main() async {
  final sensor = Thermometer('kitchen', [19.5, 20.0]);
  try {
    for (var i = 0; i < 3; i++) {
      print('${sensor.name}: ${await sensor.read()} ${sensor.unit}');
    }
  } on StateError catch (error) {
    print(error.message); // nothing was measured
  } finally {
    print("done");
  }
}
